"""The stories that ``hopbed demo`` tells, in this order. Together they take less than 90 seconds."""

from __future__ import annotations

import dataclasses

from nodes import errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Story:
    """A scenario with its parameters, and what to look at.

    Attributes:
        name: what ``hopbed demo`` calls it.
        title: its heading on the page.
        text: what happens in it, in a sentence or two.
        scenario: its name.
        parameters: ``name=value`` words.
        vary: ``name=a,b`` of the parameter that its sides differ in; empty for a story of one run.
        figures: the figures to show, by their names in the comparison or the verdict.
    """

    name: str
    title: str
    text: str
    scenario: str
    parameters: tuple[str, ...] = ()
    vary: str = ""
    figures: tuple[str, ...] = ()


STORIES = (
    Story(
        name="hop",
        title="An address hops, and the services go on",
        text=(
            "curl downloads 100 MB and UDP and TCP streams run both ways while a terminal's address hops 20"
            " times, interface identifier and prefix; beside them a plain socket, whose address just goes."
        ),
        scenario="address-hop",
        parameters=(
            "kind=both",
            "hops=20",
            "period=200ms",
            "applications=curl",
            "download=100",
            "rate=500",
            "plain=true",
        ),
        figures=(
            "lost on udp-a-b",
            "lost on udp-b-a",
            "longest gap on udp-a-b",
            "longest gap on tcp-b-a",
            "lost on plain-tcp-a-b",
        ),
    ),
    Story(
        name="rekey",
        title="Rekeys under traffic",
        text="Two strongSwan peers rekey their CHILD_SA five times by IKEv2 under UDP and TCP traffic.",
        scenario="rekey",
        parameters=("ike=2", "count=5"),
        figures=("lost on udp-a-b", "lost on udp-b-a", "longest gap on udp-a-b"),
    ),
    Story(
        name="negotiation",
        title="SA negotiation without a lost packet",
        text=(
            "An IKEv1 rekey under 500 packets a second each way, whose third Quick Mode message is lost once."
            " The initiator is an unmodified strongSwan. A stock responder installs its SA on that message;"
            " the early one installed it on the first."
        ),
        scenario="sa-negotiation",
        parameters=("third=drop", "moment=rekey", "rate=500"),
        vary="responder=strongswan,early",
        figures=("lost on udp-a-b", "longest gap on udp-a-b", "first message to effective SA, median ms"),
    ),
    Story(
        name="abnormality",
        title="A negotiation that cannot succeed",
        text=(
            "Two strongSwan peers whose IKEv1 secrets differ, and a sender that never stops trying. Stock"
            " repeats at once; with the handling on, both sides are inactive for twenty seconds after each"
            " failure."
        ),
        scenario="ike-abnormality",
        parameters=("kind=psk", "ike=1", "t1=20", "t2=20", "duration=10"),
        vary="handling=off,on",
        figures=(
            "IKE messages a minute from the sender",
            "IKE messages a minute from the receiver",
            "half-open IKE SAs at the receiver, peak",
        ),
    ),
)


def find(names: tuple[str, ...]) -> tuple[Story, ...]:
    """The stories of these names, in the order of :data:`STORIES`; all of them where none is named.

    Raises:
        UsageError: there is no such story.
    """
    known = {story.name: story for story in STORIES}
    for name in names:
        if name not in known:
            raise errors.UsageError(f"no story {name!r}; there are {', '.join(known)}")
    return tuple(story for story in STORIES if not names or story.name in names)
