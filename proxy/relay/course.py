"""How an answer came, put together when it has ended, for whoever traces it."""

from proxy.observe import Course
from proxy.relay.producer import Producer


def course_of(producer: Producer) -> Course:
    """What only its producer knows of an answer. Looks at a few of its events."""
    work, pace = producer.work, producer.pace
    candidate = producer.candidate
    return Course(
        peer=candidate.provider.peer,
        model=candidate.request.model,
        particulars=work.dialect.particulars(producer.writer.events),
        began_ns=pace.began_ns,
        first_read_ns=pace.first_read_ns,
        first_content_ns=pace.first_content_ns,
    )
