"""Whose address a request has, and who may say so."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ocelot_api.client_address import MAX_HOPS, MAX_NETWORKS, TrustedProxies, parse_networks
from ocelot_api.settings import ApiSettings
from ocelot_common.settings import load

NEEDED = {
    "mongodb_url": "mongodb://x",
    "sqs_queue_url": "http://x/q",
    "queue_keys_file": "queue-keys",
}
PROXY = ("10.0.0.1", 4711)
TRUSTED = TrustedProxies(parse_networks("10.0.0.0/8, fd00::/8"))


def test_a_mapped_network_is_that_of_its_ipv4_addresses():
    trusted = TrustedProxies(parse_networks("::ffff:10.0.0.0/104"))
    for proxy in ("10.255.0.1", "::ffff:10.0.0.1"):
        assert trusted.client_of((proxy, 1), b"203.0.113.7") == "203.0.113.7"
    for stranger in ("11.0.0.1", "::a00:1", "fd00::1"):
        assert trusted.client_of((stranger, 1), b"203.0.113.7") == stranger
    assert parse_networks("::/0") == (ip_network("::/0"),)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param(PROXY, b"", "10.0.0.1", id="a proxy that adds nothing"),
        pytest.param(PROXY, b"203.0.113.7", "203.0.113.7", id="one proxy"),
        pytest.param(PROXY, b"203.0.113.7, 10.2.0.1", "203.0.113.7", id="two proxies"),
        pytest.param(PROXY, b"1.1.1.1, 203.0.113.7", "203.0.113.7", id="what the client adds"),
        pytest.param(PROXY, b"10.9.9.9, 203.0.113.7, 10.2.0.1", "203.0.113.7", id="in our name"),
        pytest.param(PROXY, b"10.3.0.1, 10.2.0.1", "10.3.0.1", id="a client of our own network"),
        pytest.param(("203.0.113.9", 1), b"1.1.1.1", "203.0.113.9", id="a stranger's header"),
        pytest.param(("fd00::1", 1), b"2001:DB8::7", "2001:db8::7", id="IPv6"),
        pytest.param(("fd00::1%eth0", 1), b"2001:db8::7%eth1", "2001:db8::7", id="zones"),
        pytest.param(("::ffff:10.0.0.1", 1), b"203.0.113.7", "203.0.113.7", id="mapped peer"),
        pytest.param(PROXY, b"203.0.113.7, ::ffff:10.2.0.1", "203.0.113.7", id="mapped proxy"),
        pytest.param(PROXY, b"203.0.113.7:1234", "203.0.113.7", id="a port"),
        pytest.param(PROXY, b"[2001:db8::7]:1234", "2001:db8::7", id="IPv6 with a port"),
        pytest.param(PROXY, b"[2001:db8::7]", "2001:db8::7", id="IPv6 in brackets"),
        pytest.param(PROXY, b"\t203.0.113.7 ,, ,", "203.0.113.7", id="empty entries"),
        pytest.param(PROXY, b"203.0.113.7,unknown", "10.0.0.1", id="an entry that is no address"),
        pytest.param(PROXY, b"x, 10.2.0.1", "10.2.0.1", id="the proxy that passed it on"),
        pytest.param(PROXY, b"203.0.113.7:x", "10.0.0.1", id="no port"),
        pytest.param(PROXY, b"[203.0.113.7", "10.0.0.1", id="an open bracket"),
        pytest.param(PROXY, b"[2001:db8::7]x", "10.0.0.1", id="after the bracket"),
        pytest.param(PROXY, b"203.0.113.7\n", "10.0.0.1", id="a line break"),
        pytest.param(PROXY, b'"203.0.113.7"', "10.0.0.1", id="quotes"),
        pytest.param(PROXY, b"\xff\xfe", "10.0.0.1", id="no ASCII"),
        pytest.param(PROXY, "２０３.0.113.7".encode(), "10.0.0.1", id="wide digits"),
        pytest.param(PROXY, b"1" * 60_000, "10.0.0.1", id="a long entry"),
        pytest.param(PROXY, b"fe80::1%\x1b[31m", "fe80::1", id="control characters in a zone"),
        pytest.param(None, b"203.0.113.7", "unknown", id="a UNIX socket"),
        pytest.param(("", 0), b"203.0.113.7", "unknown", id="no address"),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxys_is_the_clients(
    peer: tuple[str, int] | None, forwarded: bytes, client: str
):
    assert TRUSTED.client_of(peer, forwarded) == client


@pytest.mark.parametrize("forwarded", [b"1.1.1.1", b"10.0.0.1", b"x", b""])
def test_without_trusted_proxies_the_header_is_never_believed(forwarded: bytes):
    assert TrustedProxies(()).client_of(PROXY, forwarded) == "10.0.0.1"


def test_a_long_list_is_read_to_a_bound():
    hops = b", ".join(b"10.1.0.%d" % (n % 250) for n in range(5_000))
    assert TRUSTED.client_of(PROXY, b"203.0.113.7, " + hops) == f"10.1.0.{(5_000 - MAX_HOPS) % 250}"
    few = b", ".join([b"10.1.0.1"] * (MAX_HOPS - 1))
    assert TRUSTED.client_of(PROXY, b"203.0.113.7, " + few) == "203.0.113.7"


@given(st.binary(max_size=200), st.sampled_from([PROXY, ("203.0.113.9", 1), ("fd00::1", 2)]))
def test_whatever_is_sent_the_result_is_an_address(forwarded: bytes, peer: tuple[str, int]):
    client = TRUSTED.client_of(peer, forwarded)
    assert str(ip_address(client)) == client
    if peer[0] == "203.0.113.9":
        assert client == peer[0]


class TestSetting:
    """`OCELOT_TRUSTED_PROXIES`."""

    def test_networks_are_read_from_a_list_with_commas(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("MONGODB_URL", "mongodb://x")
        monkeypatch.setenv("SQS_QUEUE_URL", "http://x/q")
        monkeypatch.setenv("OCELOT_QUEUE_KEYS_FILE", "queue-keys")
        monkeypatch.setenv("OCELOT_TRUSTED_PROXIES", " 10.0.0.0/8,fd00::/8, 192.0.2.1 ,")
        wanted = tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")))
        assert ApiSettings().trusted_proxies == wanted  # type: ignore[call-arg]

    def test_a_process_with_a_wrong_network_ends_and_says_which(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        monkeypatch.setenv("MONGODB_URL", "mongodb://x")
        monkeypatch.setenv("SQS_QUEUE_URL", "http://x/q")
        monkeypatch.setenv("OCELOT_QUEUE_KEYS_FILE", "queue-keys")
        monkeypatch.setenv("OCELOT_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/33")
        with pytest.raises(SystemExit) as ended:
            load(ApiSettings)
        assert ended.value.code == 2
        assert "  OCELOT_TRUSTED_PROXIES: " in capsys.readouterr().err

    def test_no_proxy_is_trusted_by_default(self):
        assert ApiSettings(**NEEDED).trusted_proxies == ()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("10.0.0.0/33", "'10.0.0.0/33' is not a network; write CIDRs such as 10.0.0.0/8"),
            ("10.0.0.0/8 fd00::/8", "'10.0.0.0/8 fd00::/8' is not a network"),
            ("ingress.example", "'ingress.example' is not a network"),
            (
                "10.1.2.3/8",
                "'10.1.2.3/8' is an address within a network; the network is 10.0.0.0/8",
            ),
            (",".join(["10.0.0.0/8"] * (MAX_NETWORKS + 1)), "257 networks; the limit is 256"),
        ],
    )
    def test_a_wrong_network_is_named_with_what_to_write(self, given: str, message: str):
        with pytest.raises(ValidationError, match=message.replace("(", r"\(")):
            ApiSettings(**NEEDED, trusted_proxies=given)
