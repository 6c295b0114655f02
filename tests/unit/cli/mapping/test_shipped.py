"""The shipped mappings, on small hand-made events of each source."""

import json
from typing import Any

import pytest

from ocelot_cli.mapping import UnmappableEvent, load_mapping


def apply(name: str, foreign: dict[str, Any]) -> dict[str, Any]:
    event = load_mapping(name).apply(foreign)
    assert event.pop("metadata") == foreign
    return event


CLOUDTRAIL: dict[str, Any] = {
    "eventVersion": "1.08",
    "userIdentity": {
        "type": "IAMUser",
        "principalId": "AIDAEXAMPLE",
        "arn": "arn:aws:iam::111122223333:user/ann",
        "accessKeyId": "ASIAEXAMPLE",
        "userName": "ann",
    },
    "eventTime": "2024-07-10T11:57:45Z",
    "eventSource": "s3.amazonaws.com",
    "eventName": "GetBucketAcl",
    "awsRegion": "us-east-1",
    "sourceIPAddress": "192.0.2.7",
    "userAgent": "aws-cli/2",
    "requestParameters": {"bucketName": "b"},
    "responseElements": None,
    "requestID": "R1",
    "sharedEventID": "S1",
    "eventID": "e-1",
    "resources": [{"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::b"}],
}


class TestCloudTrail:
    def test_a_whole_record(self) -> None:
        assert apply("cloudtrail", CLOUDTRAIL) == {
            "action": "s3.GetBucketAcl",
            "actor": {
                "id": "AIDAEXAMPLE",
                "type": "IAMUser",
                "name": "ann",
                "session_id": "ASIAEXAMPLE",
            },
            "occurred_at": "2024-07-10T11:57:45Z",
            "targets": [{"type": "AWS::S3::Bucket", "id": "arn:aws:s3:::b"}],
            "outcome": "success",
            "changes": {"after": {"bucketName": "b"}},
            "source": {"ip": "192.0.2.7", "user_agent": "aws-cli/2", "location": "us-east-1"},
            "request_id": "R1",
            "trace_id": "S1",
        }
        assert load_mapping("cloudtrail").natural_id(CLOUDTRAIL) == "e-1"

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            ("AccessDenied", "denied"),
            ("Client.UnauthorizedOperation", "denied"),
            ("NoSuchBucketPolicy", "failure"),
            ("", "success"),
            (None, "success"),
        ],
    )
    def test_the_error_code_gives_the_outcome(self, code: str | None, outcome: str) -> None:
        assert apply("cloudtrail", CLOUDTRAIL | {"errorCode": code})["outcome"] == outcome

    def test_a_failed_console_login_has_no_error_code(self) -> None:
        failed = {"responseElements": {"ConsoleLogin": "Failure"}, "errorMessage": "no"}
        assert apply("cloudtrail", CLOUDTRAIL | failed)["outcome"] == "failure"

    @pytest.mark.parametrize(
        ("identity", "actor"),
        [
            ({"arn": "arn:x", "type": "Role"}, {"id": "arn:x", "type": "Role"}),
            ({"invokedBy": "ec2.amazonaws.com"}, {"id": "ec2.amazonaws.com", "type": "AWSService"}),
            ({"accountId": "111122223333"}, {"id": "111122223333"}),
            (None, {"id": "s3.amazonaws.com"}),
        ],
    )
    def test_an_actor_is_always_named(self, identity: object, actor: dict[str, str]) -> None:
        assert apply("cloudtrail", CLOUDTRAIL | {"userIdentity": identity})["actor"] == actor

    def test_a_service_in_the_place_of_the_address_is_the_service(self) -> None:
        event = apply("cloudtrail", CLOUDTRAIL | {"sourceIPAddress": "AWS Internal"})
        assert event["source"]["service"] == "AWS Internal"
        assert "ip" not in event["source"]

    def test_eventbridge_lookup_events_and_logstash_give_the_same(self) -> None:
        expected = apply("cloudtrail", CLOUDTRAIL)
        logstash = {**CLOUDTRAIL, "@timestamp": CLOUDTRAIL["eventTime"], "@version": "1"}
        del logstash["eventTime"]
        for foreign in (
            {"detail-type": "AWS API Call via CloudTrail", "id": "x", "detail": CLOUDTRAIL},
            {"EventId": "e-1", "CloudTrailEvent": json.dumps(CLOUDTRAIL)},
            logstash,
        ):
            assert apply("cloudtrail", foreign) == expected

    def test_what_is_no_record_is_refused(self) -> None:
        with pytest.raises(UnmappableEvent, match="not a CloudTrail record"):
            apply("cloudtrail", {"detail": {"findings": []}, "detail-type": "Security Hub"})


KUBERNETES: dict[str, Any] = {
    "kind": "Event",
    "auditID": "a-1",
    "stage": "ResponseComplete",
    "requestURI": "/apis/apps/v1/namespaces/shop/deployments/web/scale",
    "verb": "patch",
    "user": {"username": "system:serviceaccount:shop:scaler", "uid": "u-1"},
    "sourceIPs": ["10.0.0.1", "10.0.0.2"],
    "userAgent": "kubectl",
    "objectRef": {
        "resource": "deployments",
        "subresource": "scale",
        "apiGroup": "apps",
        "namespace": "shop",
        "name": "web",
        "uid": "o-1",
    },
    "responseStatus": {"metadata": {}, "code": 200},
    "requestObject": {"spec": {"replicas": 3}},
    "stageTimestamp": "2024-03-10T22:38:52.512199Z",
}


class TestKubernetes:
    def test_a_whole_event(self) -> None:
        assert apply("kubernetes", KUBERNETES) == {
            "action": "apps/deployments/scale.patch",
            "actor": {
                "id": "u-1",
                "type": "serviceaccount",
                "name": "system:serviceaccount:shop:scaler",
            },
            "occurred_at": "2024-03-10T22:38:52.512199Z",
            "targets": [{"type": "deployments", "id": "o-1", "name": "shop/web"}],
            "outcome": "success",
            "changes": {"after": {"spec": {"replicas": 3}}},
            "source": {"ip": "10.0.0.1", "user_agent": "kubectl"},
            "request_id": "a-1",
        }

    def test_its_id_holds_the_stage(self) -> None:
        assert load_mapping("kubernetes").natural_id(KUBERNETES) == "a-1/ResponseComplete"

    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            ({"code": 201}, "success"),
            ({"code": 401}, "denied"),
            ({"code": 403}, "denied"),
            ({"code": 409}, "failure"),
            ({"code": 500}, "failure"),
            (None, "unknown"),
        ],
    )
    def test_the_status_gives_the_outcome(self, status: object, outcome: str) -> None:
        assert apply("kubernetes", KUBERNETES | {"responseStatus": status})["outcome"] == outcome

    @pytest.mark.parametrize(
        ("user", "actor"),
        [
            ({"username": "ann"}, {"id": "ann", "type": "user", "name": "ann"}),
            (
                {"username": "system:node:n1", "uid": "x"},
                {"id": "x", "type": "node", "name": "system:node:n1"},
            ),
        ],
    )
    def test_the_prefix_tells_the_kind_of_actor(
        self, user: dict[str, str], actor: dict[str, str]
    ) -> None:
        assert apply("kubernetes", KUBERNETES | {"user": user})["actor"] == actor

    def test_without_a_resource_the_path_is_the_target(self) -> None:
        event = apply(
            "kubernetes", KUBERNETES | {"objectRef": None, "requestURI": "/healthz", "verb": "get"}
        )
        assert event["action"] == "nonresource.get"
        assert event["targets"] == [{"type": "requestURI", "id": "/healthz"}]


OKTA: dict[str, Any] = {
    "uuid": "o-1",
    "published": "2024-07-21T14:48:29.421Z",
    "eventType": "policy.rule.update",
    "displayMessage": "Update policy rule",
    "severity": "WARN",
    "actor": {"id": "00u1", "type": "User", "alternateId": "ann@example.com", "displayName": "Ann"},
    "client": {
        "ipAddress": "192.0.2.7",
        "userAgent": {"rawUserAgent": "Firefox"},
        "geographicalContext": {"country": "Kenya"},
    },
    "authenticationContext": {"externalSessionId": "es", "rootSessionId": "rs"},
    "outcome": {"result": "DENY"},
    "transaction": {"id": "unknown"},
    "target": [
        {
            "id": "r1",
            "type": "PolicyRule",
            "displayName": "Rule",
            "changeDetails": {"from": {"rank": 1}, "to": {"rank": 2}},
        },
        {"id": "p1", "type": "Policy", "displayName": "Policy"},
    ],
}


class TestOkta:
    def test_a_whole_event(self) -> None:
        assert apply("okta", OKTA) == {
            "action": "policy.rule.update",
            "actor": {
                "id": "00u1",
                "type": "User",
                "name": "Ann",
                "email": "ann@example.com",
                "session_id": "es",
            },
            "occurred_at": "2024-07-21T14:48:29.421Z",
            "targets": [
                {"type": "PolicyRule", "id": "r1", "name": "Rule"},
                {"type": "Policy", "id": "p1", "name": "Policy"},
            ],
            "outcome": "denied",
            "severity": "warning",
            "message": "Update policy rule",
            "changes": {"before": [{"rank": 1}], "after": [{"rank": 2}]},
            "source": {"ip": "192.0.2.7", "user_agent": "Firefox", "location": "Kenya"},
            "trace_id": "rs",
        }

    @pytest.mark.parametrize(
        ("result", "outcome"),
        [("SUCCESS", "success"), ("ALLOW", "success"), ("FAILURE", "failure"), ("X", "unknown")],
    )
    def test_the_result_gives_the_outcome(self, result: str, outcome: str) -> None:
        assert apply("okta", OKTA | {"outcome": {"result": result}})["outcome"] == outcome

    def test_a_null_target_and_a_real_transaction(self) -> None:
        event = apply("okta", OKTA | {"target": None, "transaction": {"id": "t,1"}})
        assert "targets" not in event
        assert "changes" not in event
        assert event["request_id"] == "t,1"


WINDOWS: dict[str, Any] = {
    "EventID": 4663,
    "Channel": "Security",
    "Hostname": "HOST1.example",
    "RecordNumber": 7,
    "@timestamp": "2024-09-22T07:45:20.300Z",
    "EventTime": "2024-09-22 03:45:19",
    "EventType": "AUDIT_SUCCESS",
    "Keywords": -9214364837600034816,
    "Severity": "INFO",
    "SubjectUserSid": "S-1-5-21-1-2-3-1104",
    "SubjectUserName": "ann",
    "SubjectLogonId": "0x3e7",
    "ObjectName": "C:\\secret.txt",
    "ObjectType": "File",
    "IpAddress": "::ffff:192.0.2.7",
    "Message": "An attempt was made.\r\n\r\nSubject:\r\n\tSecurity ID:\tS-1-5-18",
}


class TestWindows:
    def test_a_whole_event(self) -> None:
        assert apply("windows-security", WINDOWS) == {
            "action": "windows.4663",
            "actor": {
                "id": "S-1-5-21-1-2-3-1104",
                "type": "user",
                "name": "ann",
                "session_id": "0x3e7",
            },
            "occurred_at": "2024-09-22T07:45:20.300Z",
            "targets": [{"type": "File", "id": "C:\\secret.txt"}],
            "outcome": "success",
            "severity": "info",
            "message": "An attempt was made.",
            "source": {"ip": "::ffff:192.0.2.7", "service": "HOST1.example"},
        }
        assert load_mapping("windows-security").natural_id(WINDOWS) == "HOST1.example/Security/7"

    def test_without_a_record_number_it_has_no_id(self) -> None:
        foreign = {name: value for name, value in WINDOWS.items() if name != "RecordNumber"}
        assert load_mapping("windows-security").natural_id(foreign) is None

    @pytest.mark.parametrize(
        ("fields", "outcome"),
        [
            ({"EventType": "AUDIT_FAILURE"}, "failure"),
            ({"EventType": None, "Keywords": -9214364837600034816}, "success"),
            ({"EventType": None, "Keywords": -9218868437227405312}, "failure"),
            ({"EventType": None, "Keywords": "0x8020000000000000"}, "success"),
            ({"EventType": None, "Keywords": "0x8010000000000000"}, "failure"),
            ({"EventType": None, "Keywords": "0x80a0000000000000"}, "success"),
            ({"EventType": None, "Keywords": None}, None),
        ],
    )
    def test_the_outcome_of_each_collector(
        self, fields: dict[str, object], outcome: str | None
    ) -> None:
        assert apply("windows-security", WINDOWS | fields).get("outcome") == outcome

    @pytest.mark.parametrize(
        ("fields", "actor"),
        [
            pytest.param(
                {"TargetUserSid": "S-1-5-9", "TargetUserName": "HOST1$", "TargetLogonId": "0x1"},
                {"id": "S-1-5-9", "type": "computer", "name": "HOST1$", "session_id": "0x1"},
                id="a logoff names the account only",
            ),
            pytest.param(
                {"TargetUserName": "bob@EXAMPLE"},
                {"id": "bob@EXAMPLE", "type": "user", "name": "bob@EXAMPLE"},
                id="Kerberos knows no SID",
            ),
            pytest.param(
                {"AccountDomain": "EXAMPLE", "AccountName": "bob", "LogonID": "0x2"},
                {"id": "EXAMPLE\\bob", "type": "user", "name": "bob", "session_id": "0x2"},
                id="a reconnected session",
            ),
            pytest.param(
                {"Message": "Cleared.\r\n\tSecurity ID:\tS-1-5-2\r\n\tAccount Name:\tbob"},
                {"id": "S-1-5-2", "type": "user", "name": "bob"},
                id="only the text names it",
            ),
            pytest.param(
                {"Message": "The firewall …", "TargetUserName": "-"},
                {"id": "HOST1.example", "type": "host", "name": "HOST1.example"},
                id="nobody: the host",
            ),
        ],
    )
    def test_without_a_subject(self, fields: dict[str, str], actor: dict[str, str]) -> None:
        foreign = {k: v for k, v in WINDOWS.items() if not k.startswith("Subject")}
        assert apply("windows-security", foreign | fields)["actor"] == actor

    @pytest.mark.parametrize(
        ("sid", "target"),
        [
            ("S-1-5-21-9", {"type": "user", "id": "S-1-5-21-9", "name": "bob"}),
            pytest.param(
                "S-1-0-0",
                {"type": "user", "id": "bob", "name": "bob"},
                id="of a failed logon, the SID is nobody's",
            ),
        ],
    )
    def test_the_account_of_a_logon_is_the_target(self, sid: str, target: dict[str, str]) -> None:
        foreign = {k: v for k, v in WINDOWS.items() if not k.startswith("Object")}
        logon = foreign | {"EventID": 4625, "TargetUserSid": sid, "TargetUserName": "bob"}
        assert apply("windows-security", logon)["targets"] == [target]

    def test_a_local_time_is_tagged_and_read_in_the_zone_that_the_user_names(self) -> None:
        foreign = {"EventID": 1102, "Hostname": "h", "TimeCreated": "2024-10-18 10:56:18.799"}
        event = apply("windows-security", foreign)
        assert event["occurred_at"] == "2024-10-18T10:56:18.799000Z"
        assert event["tags"] == ["local-time"]
        mapping = load_mapping("windows-security", zone="America/New_York")
        assert mapping.apply(foreign)["occurred_at"] == "2024-10-18T10:56:18.799000-04:00"


GITHUB: dict[str, Any] = {
    "sender": {"id": 1, "login": "ann", "type": "User"},
    "repository": {"id": 2, "full_name": "org/repo"},
    "organization": {"id": 3, "login": "org"},
}


class TestGitHub:
    def test_an_edited_issue(self) -> None:
        issue = {"id": 4, "title": "new", "updated_at": "2024-05-15T15:20:18Z", "body": "b"}
        foreign = GITHUB | {
            "action": "edited",
            "issue": issue,
            "changes": {"title": {"from": "old"}},
        }
        assert apply("github-webhook", foreign) == {
            "action": "issues.edited",
            "actor": {"id": "1", "type": "User", "name": "ann"},
            "occurred_at": "2024-05-15T15:20:18Z",
            "targets": [
                {"type": "repository", "id": "2", "name": "org/repo"},
                {"type": "organization", "id": "3", "name": "org"},
                {"type": "issue", "id": "4", "name": "new"},
            ],
            "outcome": "success",
            "changes": {"before": {"title": "old"}, "after": {"title": "new"}},
            "source": {"service": "github"},
        }

    @pytest.mark.parametrize(
        ("payload", "action"),
        [
            ({"pusher": {"name": "ann"}, "before": "0", "commits": []}, "push"),
            ({"action": "created", "comment": {}, "issue": {"id": 1}}, "issues.created"),
            (
                {"action": "created", "comment": {"id": 1}, "issue": {"id": 1}},
                "issue_comment.created",
            ),
            ({"action": "created", "comment": {"id": 1}}, "commit_comment.created"),
            ({"action": "opened", "pull_request": {"id": 1}}, "pull_request.opened"),
            ({"action": "added", "member": {"id": 1}}, "member.added"),
            ({"action": "added", "member": {"id": 1}, "team": {"id": 1}}, "membership.added"),
            ({"action": "renamed"}, "repository.renamed"),
            ({"action": "started"}, "watch.started"),
            ({}, "public"),
            ({"action": "create", "alert": {"secret_type": "x"}}, "secret_scanning_alert.create"),
            ({"action": "x", "X-GitHub-Event": "star", "issue": {"id": 1}}, "star.x"),
            ({"action": "x", "headers": {"X-GitHub-Event": "star"}}, "star.x"),
        ],
    )
    def test_the_keys_tell_the_event(self, payload: dict[str, Any], action: str) -> None:
        assert apply("github-webhook", GITHUB | payload)["action"] == action

    def test_without_a_sender_github_itself_acted(self) -> None:
        event = apply(
            "github-webhook", {"action": "published", "security_advisory": {"ghsa_id": "G-1"}}
        )
        assert event["actor"] == {"id": "github", "type": "service"}
        assert event["targets"] == [{"type": "security_advisory", "id": "G-1"}]
