"""Problem documents (RFC 9457)."""

import json

import pytest

from ocelot_api.problems import Problem, bad_request, forbidden, unauthenticated, unavailable


def test_a_document_has_the_members_of_rfc_9457_and_ours():
    problem = Problem(422, "missing_field", "this field is required", path="actor.id")
    assert json.loads(problem.document("r-1")) == {
        "type": "urn:ocelot:problem:missing_field",
        "title": "Not valid",
        "status": 422,
        "code": "missing_field",
        "detail": "this field is required",
        "path": "actor.id",
        "request_id": "r-1",
    }


def test_a_path_is_left_out_where_there_is_none_and_kept_where_it_is_the_whole_event():
    assert "path" not in json.loads(Problem(400, "x", "y").document("r"))
    assert json.loads(Problem(400, "x", "y", path="").document("r"))["path"] == ""


def test_further_members_stand_beside_the_others():
    document = json.loads(unavailable("x", "y", members={"outcome": "unknown"}).document("r"))
    assert document["outcome"] == "unknown"


@pytest.mark.parametrize("status", [400, 404, 418, 500, 503, 599])
def test_every_status_has_a_title(status: int):
    assert json.loads(Problem(status, "x", "y").document("r"))["title"]


def test_shorthands_have_their_status_and_headers():
    assert bad_request("x", "y", path="p").path == "p"
    assert forbidden("x", "y").status == 403
    assert unavailable("x", "y", retry_after_sec=7).headers == {"Retry-After": "7"}
    assert unauthenticated("token_missing", "y").headers == {
        "WWW-Authenticate": 'Bearer realm="ocelot"'
    }
    assert "invalid_token" in unauthenticated("other", "y").headers["WWW-Authenticate"]
