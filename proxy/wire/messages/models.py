"""What is known of Anthropic's models by their names."""

import re

BEFORE_EFFORTS = re.compile(
    r"claude-(2|3|instant|(opus|sonnet|haiku)-4([-.][015])?(-\d{8})?(@|:|-v\d|-latest|$))"
)
"""Claude 2 to 4.5: the models that know thinking by budgets alone, and take the beginning of an
answer; later ones know efforts, and refuse to be begun for. It is a list of the past: no model will
come to it."""
