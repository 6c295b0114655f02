import pytest

from ocelot_common.auth.scopes import (
    RENAMED_ROLES,
    ROLES,
    SCOPES,
    current_role,
    effective_scopes,
)


def test_scopes_and_role_count_together() -> None:
    assert effective_scopes("logs:export logs:write", "reader") == {
        "logs:export", "logs:write", "logs:read",
    }  # fmt: skip


@pytest.mark.parametrize("scope", ["", "  ", "\t"])
def test_an_empty_scope_and_no_role_give_nothing(scope: str) -> None:
    assert effective_scopes(scope, "") == frozenset()


@pytest.mark.parametrize(
    "space",
    ["\t", "\n", "\r", "\v", "\f", "\x1c", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000", ","],
    ids=ascii,
)
def test_scopes_are_separated_by_spaces_alone(space: str) -> None:
    assert effective_scopes(f"logs:read{space}logs:write", "") == frozenset()
    assert effective_scopes(f"logs:read{space}logs:write logs:export", "") == {"logs:export"}
    assert effective_scopes("  logs:read   logs:write ", "") == {"logs:read", "logs:write"}


@pytest.mark.parametrize("scope", ["logs:*", "*", "LOGS:READ", "logs:read2"])
def test_an_unknown_scope_gives_nothing(scope: str) -> None:
    assert effective_scopes(scope, "") == frozenset()


@pytest.mark.parametrize("role", ["root", "Operator", "operator ", "*"])
def test_an_unknown_role_gives_nothing(role: str) -> None:
    assert effective_scopes("", role) == frozenset()


def test_roles_hold_known_scopes_only() -> None:
    assert all(scopes and scopes <= SCOPES for scopes in ROLES.values())


def test_a_writer_reads_nothing_and_a_reader_writes_nothing() -> None:
    assert ROLES["writer"] == {"logs:write"}
    assert ROLES["reader"] == {"logs:read"}
    assert not ROLES["auditor"] & {"logs:write", "logs:admin", "logs:delete", "tenants:admin"}


def test_only_the_installation_admin_may_make_tenants() -> None:
    owners = [role for role, scopes in ROLES.items() if "tenants:admin" in scopes]
    assert owners == ["installation-admin"]


def test_the_old_name_of_a_role_has_its_rights_and_is_no_role_itself() -> None:
    assert effective_scopes("", "operator") == effective_scopes("", "installation-admin") == SCOPES
    assert current_role("operator") == "installation-admin"
    assert current_role("reader") == "reader"
    assert not RENAMED_ROLES.keys() & ROLES.keys()
    assert set(RENAMED_ROLES.values()) <= ROLES.keys()
