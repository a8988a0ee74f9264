"""A scenario's parameters: what is given, what is left out, and what is refused before anything starts."""

import pytest

from nodes.errors import ParameterError, UsageError
from orchestrator.scenarios.catalogue import SCENARIOS, find
from orchestrator.scenarios.rekey import SCENARIO as REKEY
from orchestrator.scenarios.sa_negotiation import SCENARIO as SA_NEGOTIATION


def test_what_is_left_out_has_its_default():
    parameters = REKEY.parse([])
    assert (parameters.ike, parameters.pfs, parameters.count, parameters.rate, parameters.auth) == (
        *("2", False, 5, 500, "psk"),
    )


def test_words_become_values_of_their_type():
    parameters = REKEY.parse(["ike=1", "pfs=true", "count=20", "auth=cert", "interval=0.5"])
    assert (parameters.version, parameters.pfs, parameters.count, parameters.auth) == (1, True, 20, "cert")
    assert parameters.interval == 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x=1"], "rekey: there is no parameter 'x'; it has ike, auth, rate, tcp_rate, count"),
        (["ike=3"], "rekey: ike=3: input should be '1' or '2'"),
        (["rate=9"], "rekey: rate=9: input should be greater than or equal to 10"),
        (["rate=10001"], "rekey: rate=10001: input should be less than or equal to 10000"),
        (["rate=fast"], "rekey: rate=fast: input should be a valid integer"),
        (["count=0"], "rekey: count=0: input should be greater than or equal to 1"),
        (["pfs=perhaps"], "rekey: pfs=perhaps: input should be a valid boolean"),
        (["rate"], "rekey: 'rate' is not NAME=VALUE"),
        (["rate=10", "rate=10"], "rekey: rate is given twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_name_and_its_range(words, said):
    with pytest.raises(ParameterError) as caught:
        REKEY.parse(words)
    assert str(caught.value).startswith(said)


def test_stock_ikev1_is_reported_and_stock_ikev2_is_judged():
    assert REKEY.parse(["ike=1"]).at_most is None
    assert REKEY.parse(["ike=2"]).at_most == 0
    assert REKEY.parse(["ike=1", "max_lost=3"]).at_most == 3


def test_a_scenario_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UsageError, match="no scenario 'x'; there are tunnel, rekey, sa-negotiation"):
        find("x")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_parameter_says_what_it_is(name):
    for parameter, field in SCENARIOS[name].parameters.model_fields.items():
        assert field.description, parameter


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        ([], ("peer-a", "endpoint-b")),
        (["responder=stock"], ("peer-a", "endpoint-b")),
        (["responder=strongswan"], ("peer-a", "peer-b")),
        (["initiator=hopbed"], ("endpoint", "endpoint-b")),
        (["initiator=hopbed", "responder=strongswan"], ("endpoint", "peer-b")),
    ],
)
def test_who_plays_in_an_sa_negotiation_follows_from_its_parameters(words, ends):
    parameters = SA_NEGOTIATION.parse(words)
    assert SA_NEGOTIATION.cast_of(parameters) == (ends, ends)


@pytest.mark.parametrize(
    ("third", "fault"),
    [
        ("pass", None),
        ("drop", "drop quick-mode 3 from INITIATOR always"),
        ("delay:500ms", "delay quick-mode 3 from INITIATOR always by 500ms"),
        ("delay:0.5s", "delay quick-mode 3 from INITIATOR always by 500ms"),
    ],
)
def test_what_becomes_of_the_third_message_is_a_fault(third, fault):
    assert SA_NEGOTIATION.parse([f"third={third}"]).fault == fault


@pytest.mark.parametrize(
    "third", ["late", "delay", "delay:5", "drop:1s", "delay:-1s", "delay:99999s", "delay:0s"]
)
def test_a_third_message_of_no_known_kind_is_refused(third):
    with pytest.raises(ParameterError, match="sa-negotiation: third="):
        SA_NEGOTIATION.parse([f"third={third}"])


def test_early_must_lose_nothing_and_stock_is_reported():
    assert SA_NEGOTIATION.parse(["responder=early", "third=drop"]).at_most == 0
    assert SA_NEGOTIATION.parse(["responder=stock"]).at_most is None
    assert SA_NEGOTIATION.parse(["esp_trigger=false", "moment=initial"]).at_most is None
    assert SA_NEGOTIATION.parse(["responder=stock", "max_lost=5"]).at_most == 5
