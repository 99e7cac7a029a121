"""The API: what it answers of jobs and the queue, and how it refuses, always in one line."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.reports.made_studies import make_study
from tests.tuner.made_runs import make_run, quick
from tests.tuner.service.serving import CURVES, Serving, submission
from tests.tuner.simulation import row
from tuner.record import Record
from tuner.service import answers
from tuner.service.limits import MAX_JSON_BYTES


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def refused(answer: Any, status: int) -> str:
    """Return the one line of a refusal."""
    assert answer.status_code == status, answer.text
    values = answer.json()
    assert list(values) == ["error"]
    assert "\n" not in values["error"] and "Traceback" not in values["error"]
    return str(values["error"])


# ---- submissions


def test_a_submission_is_queued_once_for_its_key_and_told_with_its_place(serving: Serving) -> None:
    client, body = serving.client(), submission()
    first, again = (client.post("/api/v1/jobs", json=body) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    job = first.json()
    assert job["id"] == f"periodic_T-{body['digest'][:8]}"
    assert (job["user"], job["state"], job["position"]) == ("alice", "queued", 1)
    assert again.json()["id"] == job["id"]
    assert serving.conductor.woken == 1
    assert [one.action for one in serving.store.audit()] == ["submit"]


def test_a_key_of_another_submission_is_a_conflict(serving: Serving) -> None:
    client, body = serving.client(), submission()
    client.post("/api/v1/jobs", json=body)
    other = submission(quick(epochs=11, resources={"concurrency": 1}), key=body["key"])
    assert body["key"] in refused(client.post("/api/v1/jobs", json=other), 409)


def test_a_key_holds_for_its_user_alone(serving: Serving) -> None:
    body = submission()
    ids = [serving.client(name).post("/api/v1/jobs", json=body).json()["id"] for name in
           ("alice", "bob")]  # fmt: skip
    assert ids[1] == f"{ids[0]}-2"


def test_a_repeated_submission_is_answered_while_ray_is_away(serving: Serving) -> None:
    client, body = serving.client(), submission()
    client.post("/api/v1/jobs", json=body)
    serving.conductor.capacity = None
    assert client.post("/api/v1/jobs", json=body).status_code == 200


def test_until_ray_has_answered_once_nothing_is_queued(serving: Serving) -> None:
    serving.conductor.capacity = None
    assert "Ray" in refused(serving.client().post("/api/v1/jobs", json=submission()), 503)


def test_checking_queues_nothing(serving: Serving) -> None:
    serving.add_job("waiting", "bob", "queued", None)
    answer = serving.client().post("/api/v1/jobs/check", json=submission())
    assert answer.status_code == 200
    checked = answer.json()
    assert (checked["position"], checked["gpus"], checked["cpus"]) == (2, 1.0, 1)
    assert serving.client("root").get("/api/v1/jobs").json()[0]["id"] == "waiting"


def test_checking_tells_the_name_that_the_job_gets(serving: Serving) -> None:
    client = serving.client()
    for suffix in ("", "-2", "-3"):
        body = submission()
        name = f"periodic_T-{body['digest'][:8]}{suffix}"
        if suffix == "-3":
            (serving.settings.runs / name).mkdir()  # taken by a run by hand
            name = name.replace("-3", "-4")
        assert client.post("/api/v1/jobs/check", json=body).json()["name"] == name
        assert client.post("/api/v1/jobs", json=body).json()["id"] == name


def test_a_name_that_is_taken_by_a_job_or_a_folder_is_a_conflict(serving: Serving) -> None:
    serving.add_job("mine", "bob")
    (serving.settings.runs / "by-hand").mkdir()
    for name in ("mine", "by-hand"):
        for path in ("/api/v1/jobs", "/api/v1/jobs/check"):
            assert name in refused(serving.client().post(path, json=submission(name=name)), 409)


# ---- what is told of a job


def test_a_job_is_told_with_its_progress_and_budget(serving: Serving) -> None:
    serving.add_job("growing")
    job = serving.client().get("/api/v1/jobs/growing").json()
    progress = job["progress"]
    assert progress["trials"] == {"completed": 1, "pruned": 1, "crashed": 1, "waiting": 1}
    assert (progress["epochs"], progress["best"], progress["best_trial"]) == (8, 0.5, 0)
    assert (progress["slot_seconds"], progress["wall_seconds"]) == (16.0, 8.0)
    assert progress["share_done"] == pytest.approx(3 / job["budget"]["trials"])
    assert job["epochs"] == 12
    serving.add_job("ended-early", state="finished")
    ended = serving.client().get("/api/v1/jobs/ended-early").json()
    assert ended["progress"]["share_done"] == 1


def test_progress_follows_the_record(serving: Serving) -> None:
    serving.add_job("growing")
    client = serving.client()
    assert client.get("/api/v1/jobs/growing").json()["progress"]["best"] == 0.5
    with Record.open(serving.settings.run_folder("growing"), write=True) as record:
        record.set_run("running")
        record.add_epoch(3, row(3, 0.8, 0.8, 3))
        while_written = client.get("/api/v1/jobs/growing").json()["progress"]
    assert (while_written["best"], while_written["trials"]["running"]) == (0.8, 1)
    assert client.get("/api/v1/jobs/growing").json()["progress"]["trials"]["waiting"] == 1


def test_a_study_is_told_as_the_sum_of_its_runs(serving: Serving) -> None:
    serving.add_job("s", curves=None, kind="study", space=None)
    make_study(serving.settings.run_folder("s"), "census")
    client = serving.client()
    job = client.get("/api/v1/jobs/s").json()
    runs = {path.parent.name for path in serving.settings.run_folder("s").glob("*/record.db")}
    rows = client.get("/api/v1/jobs/s/trials").json()["rows"]
    assert {one["run"] for one in rows} == runs and len(runs) >= 3
    progress = job["progress"]
    assert sum(progress["trials"].values()) == len(rows)
    assert progress["epochs"] == sum(one["epochs"] for one in rows)
    assert progress["epochs"] == len(client.get("/api/v1/jobs/s/curves").json()["points"])
    assert progress["best"] == max(one["score"] for one in rows)
    planned = 10 + (30 + 12 + 4) + 3 * 2 * 6 + 3 * 18  # pilot, census, searches, confirmation
    assert progress["share_done"] == pytest.approx(len(rows) / planned) and job["budget"] == {}
    assert progress["remaining_seconds"] is None  # no process carries it out
    serving.store.set_state("s", ("running",), "finished")
    assert client.get("/api/v1/jobs/s").json()["progress"]["share_done"] == 1
    refused(client.post("/api/v1/jobs/s/resume", json={"more_trials": 1}), 422)


def test_seconds_of_several_kinds_of_device_are_told_apart(serving: Serving) -> None:
    serving.add_job("one-kind")
    serving.add_job("two-kinds", curves=None)
    folder = make_run(serving.settings.run_folder("two-kinds"), CURVES)
    with Record.open(folder, write=True) as record:
        record.place_trial(3, "NVIDIA H100", "there:1")
        record.add_slot_time(3, 5.0)
    client = serving.client()
    one, two = (client.get(f"/api/v1/jobs/{id}").json()["progress"] for id in
                ("one-kind", "two-kinds"))  # fmt: skip
    assert (one["slot_seconds"], one["slot_seconds_by_device"]) == (16.0, {})
    assert two["slot_seconds"] is None
    assert sum(two["slot_seconds_by_device"].values()) == 21.0
    assert len(two["slot_seconds_by_device"]) == 2


def test_a_raised_budget_is_told(serving: Serving) -> None:
    serving.add_job("done", state="finished")
    client = serving.client()
    before = client.get("/api/v1/jobs/done").json()["budget"]["trials"]
    answer = client.post("/api/v1/jobs/done/resume", json={"more_trials": 5})
    assert answer.status_code == 202
    assert answer.json()["budget"]["trials"] == before + 5


def test_jobs_are_listed_newest_first_and_filtered(serving: Serving) -> None:
    serving.add_job("first", curves=None, state="finished")
    serving.add_job("second", curves=None)
    serving.add_job("other", "bob", curves=None)
    client = serving.client()
    names = lambda path, by=client: [one["id"] for one in by.get(path).json()]  # noqa: E731
    assert names("/api/v1/jobs") == ["second", "first"]
    assert names("/api/v1/jobs?state=finished") == ["first"]
    assert names("/api/v1/jobs?limit=1") == ["second"]
    assert names("/api/v1/jobs?user=bob") == []
    root = serving.client("root")
    assert names("/api/v1/jobs", root) == ["other", "second", "first"]
    assert names("/api/v1/jobs?user=bob", root) == ["other"]


def test_the_queue_hides_the_names_of_others_jobs(serving: Serving) -> None:
    serving.add_job("running-one", "bob", curves=None)
    serving.add_job("waiting-one", "alice", "queued", None)
    serving.add_job("waiting-two", "bob", "queued", None)
    queue = serving.client().get("/api/v1/queue").json()
    assert [(one["id"], one["user"]) for one in queue["held"]] == [("–", "bob")]
    told = [(one["id"], one["user"], one["position"]) for one in queue["waiting"]]
    assert told == [("waiting-one", "alice", 1), ("–", "bob", 2)]
    assert queue["capacity"]["gpus"] == 2
    everything = serving.client("root").get("/api/v1/queue").json()
    assert [one["id"] for one in everything["waiting"]] == ["waiting-one", "waiting-two"]


def test_stop_pause_and_resume_write_what_is_wanted_and_who_asked(serving: Serving) -> None:
    serving.add_job("going")
    client = serving.client()
    assert client.post("/api/v1/jobs/going/pause").json()["state"] == "pausing"
    assert client.post("/api/v1/jobs/going/stop").json()["wanted"] == "stop"
    assert client.post("/api/v1/jobs/going/stop?now=true").json()["wanted"] == "stop_now"
    refused(client.post("/api/v1/jobs/going/resume"), 409)
    serving.store.set_state("going", ("stopping",), "stopped")
    assert client.post("/api/v1/jobs/going/resume").json()["state"] == "queued"
    assert [one.action for one in serving.store.audit()] == ["resume", "stop now", "stop", "pause"]
    assert serving.conductor.woken == 4


def test_a_budget_is_raised_only_where_it_has_such_a_limit(serving: Serving) -> None:
    serving.add_job("done", state="finished")
    answer = serving.client().post("/api/v1/jobs/done/resume", json={"more_gpu_hours": 1})
    assert "gpu_hours" in refused(answer, 422) or "gpu-hours" in answer.text


# ---- logs


def log_of(serving: Serving, job: str, content: bytes) -> None:
    path = serving.settings.log_file(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_log_is_read_in_parts_that_never_split_a_character(serving: Serving) -> None:
    serving.add_job("going", curves=None)
    text = "trial 0: é – ✓ 😀\n" * 50
    log_of(serving, "going", text.encode())
    client, offset, found = serving.client(), 0, ""
    while True:
        part = client.get(f"/api/v1/jobs/going/log?offset={offset}&limit=17").json()
        if not part["text"]:
            break
        found, offset = found + part["text"], part["next_offset"]
    assert found == text
    assert not part["ended"]


def test_a_log_ends_with_its_job_and_its_tail_begins_with_a_line(serving: Serving) -> None:
    serving.add_job("done", state="finished", curves=None)
    log_of(serving, "done", b"one\ntwo\nthree\n")
    part = serving.client().get("/api/v1/jobs/done/log?offset=-8").json()
    assert part == {"text": "three\n", "next_offset": 14, "size": 14, "ended": True}


def test_a_job_without_a_log_or_record_yet_has_empty_ones(serving: Serving) -> None:
    serving.add_job("new", state="starting", curves=None)
    client = serving.client()
    assert client.get("/api/v1/jobs/new/log").json()["text"] == ""
    assert client.get("/api/v1/jobs/new/trials").json()["rows"] == []
    assert client.get("/api/v1/jobs/new/curves").json()["points"] == []
    for path in ("archive", "report"):
        assert "no record" in refused(client.get(f"/api/v1/jobs/new/{path}"), 409)


# ---- cursors


def test_only_trials_that_changed_are_told_again(serving: Serving) -> None:
    serving.add_job("going")
    client = serving.client()
    first = client.get("/api/v1/jobs/going/trials").json()
    assert [one["number"] for one in first["rows"]] == [0, 1, 2, 3]
    path = f"/api/v1/jobs/going/trials?after_change={first['cursor']}"
    assert client.get(path).json()["rows"] == []
    with Record.open(serving.settings.run_folder("going"), write=True) as record:
        record.add_epoch(3, row(3, 0.8, 0.8, 3))
        changed = client.get(path).json()["rows"]
    assert [(one["number"], one["epochs"], one["state"]) for one in changed] == [(3, 3, "running")]


def test_curves_are_told_in_parts_without_loss_or_repetition(serving: Serving) -> None:
    serving.add_job("going")
    from tuner.service import news

    folders, cursor, points = [serving.settings.run_folder("going")], "0", []
    while True:
        part = news.curves(folders, cursor, most=3)
        points += part.points
        cursor = part.cursor
        if not part.more:
            break
    assert [(one.trial, one.epoch) for one in points] == [
        (0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2), (3, 1), (3, 2)
    ]  # fmt: skip
    answer = serving.client().get("/api/v1/jobs/going/curves").json()
    assert answer["points"] == [one.model_dump() for one in points]
    assert answer["cursor"] == cursor


@pytest.mark.parametrize("cursor", ["x", "é", "AAAA", "e30x", "W10", "eyJhIjoieCJ9", "1", "-1"])
def test_a_made_up_cursor_is_refused(serving: Serving, cursor: str) -> None:
    serving.add_job("going")
    for kind in ("trials", "curves"):
        path = f"/api/v1/jobs/going/{kind}"
        line = refused(serving.client().get(path, params={"after_change": cursor}), 422)
        assert "cursor" in line


# ---- other answers


def test_the_server_says_what_a_client_checks(serving: Serving) -> None:
    told = serving.client().get("/api/v1/server").json()
    assert told["versions"]["tuner"] and "periodic_T" in told["spaces"]
    assert told["presets"] == ["fer2013", "paper", "quick"]
    assert told["max_upload_bytes"] == 10_000_000


def test_a_draft_becomes_the_specification_of_the_command_line(serving: Serving) -> None:
    draft = {"space": "periodic_T", "flags": {"epochs": 9}, "ranges": {"T": [1, 3]}}
    answer = serving.client().post("/api/v1/specs", json=draft)
    assert answer.status_code == 200
    from tuner.spec import build_spec

    expected = build_spec(
        "quick", None, {"space": "periodic_T", "epochs": 9}, {}, {"T": ("1", "3")}
    )
    assert answer.json() == {
        "spec": expected.model_dump(mode="json"), "digest": expected.digest
    }  # fmt: skip


@pytest.mark.parametrize(
    "draft",
    [
        {"space": "nothing"},
        {"space": "..", "preset": "quick"},
        {"preset": "../quick"},
        {"flags": {"space": "/etc/passwd"}},
        {"flags": {"study": {}}},
        {"flags": {"resources": {"address": "evil:1"}}},
        {"flags": {"resources": {"trunks": "/tmp/x"}}},
        {"flags": {"epochs": "many"}},
        {"sets": {"data": 1}},
        {"ranges": {"T": [1, 1e308]}},
    ],
)
def test_a_draft_names_nothing_but_what_comes_with_the_product(
    serving: Serving, draft: dict[str, Any]
) -> None:
    refused(serving.client().post("/api/v1/specs", json=draft), 422)


def test_health_needs_no_token(serving: Serving) -> None:
    assert serving.client(None).get("/health").json() == {"status": "ok"}


def test_every_answer_carries_what_keeps_a_browser_in_check(serving: Serving) -> None:
    for answer in (
        serving.client(None).get("/health"),
        serving.client().get("/api/v1/me"),
        serving.client().get("/nothing"),
        serving.client(None).get("/api/v1/me"),
    ):
        headers = answer.headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


# ---- refusals


def test_unknown_paths_and_methods_are_told_in_one_line(serving: Serving) -> None:
    client = serving.client()
    refused(client.get("/nothing"), 404)
    refused(client.get("/api/v1/nothing"), 404)
    refused(client.delete("/api/v1/jobs"), 405)
    refused(client.get("/static/../app.py"), 404)


def test_an_unexpected_error_tells_nothing_of_the_inside(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret place /etc")

    monkeypatch.setattr(serving.store, "job", broken)
    answer = serving.client().get("/api/v1/jobs/x")
    assert "secret" not in refused(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1", b"\xff", b'{"a": 1', b"nul", b"[" * 100_000, b'{"a": NaN}'],
    ids=lambda body: repr(body[:8]),
)
def test_malformed_bodies_are_refused(serving: Serving, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/api/v1/jobs", "/api/v1/session", "/api/v1/compare"):
        answer = serving.client().post(path, content=body, headers=headers)
        refused(answer, answer.status_code)
        assert answer.status_code in (400, 422)


def test_bodies_that_are_too_long_are_refused_at_once(serving: Serving) -> None:
    body = json.dumps({"token": "x" * MAX_JSON_BYTES}).encode()
    answer = serving.client().post("/api/v1/jobs", content=body)
    assert f"{MAX_JSON_BYTES:,}" in refused(answer, 413)


def test_bodies_of_unannounced_length_are_refused_on_the_way(serving: Serving) -> None:
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        for _ in range(200):
            sent += 1
            yield b" " * 10_000

    answer = serving.client().post(
        "/api/v1/jobs", content=chunks(), headers={"Content-Type": "application/json"}
    )
    refused(answer, 413)


def test_a_client_that_writes_too_fast_is_slowed(serving: Serving) -> None:
    client = serving.client()
    now = [0.0]  # on a busy machine requests would be slower than the limit
    serving.app.state.service.auth._writes._clock = lambda: now[0]
    codes = [client.post("/api/v1/jobs/none/stop").status_code for _ in range(501)]
    assert codes == [404] * 500 + [429]
    now[0] += 1 / 50
    assert client.post("/api/v1/jobs/none/stop").status_code == 404
    assert client.get("/api/v1/me").status_code == 200
    assert serving.client("bob").post("/api/v1/jobs/none/stop").status_code == 404


@pytest.mark.parametrize(
    "seen", [{"going": [0, {"x": 1}]}, {"going": [10**30, {}]}, {"going": 10**30}]
)
def test_a_cursor_of_odd_numbers_is_refused(serving: Serving, seen: dict[str, Any]) -> None:
    serving.add_job("going")
    cursor = base64.urlsafe_b64encode(json.dumps(seen).encode()).decode().rstrip("=")
    kind = "curves" if isinstance(seen["going"], int) else "trials"
    refused(serving.client().get(f"/api/v1/jobs/going/{kind}?after_change={cursor}"), 422)


# ---- answers that are kept


def test_an_answer_is_made_once_while_nothing_changes_and_anew_when_anything_does(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LOOK_S", 3600.0)
    serving.add_job("growing")
    made = []
    told = serving.app.state.service.answers._told
    monkeypatch.setattr(
        serving.app.state.service.answers, "_told", lambda row: made.append(row.id) or told(row)
    )
    client = serving.client()

    def asked() -> tuple[int, list[dict[str, Any]]]:
        made.clear()
        one = [client.get("/api/v1/jobs/growing").json() for _ in range(3)]
        many = [client.get("/api/v1/jobs").json() for _ in range(3)]
        assert many == [[job] for job in one] and one[0] == one[2]
        return len(made), many[0]

    assert asked()[0] == 2
    assert asked()[0] == 0
    with Record.open(serving.settings.run_folder("growing"), write=True) as record:
        record.set_run("running")
        record.add_epoch(3, row(3, 0.8, 0.8, 3))
        count, (job,) = asked()
        assert count == 2 and job["progress"]["best"] == 0.8
    serving.store.want("growing", "stop")
    count, (job,) = asked()
    assert count == 2 and job["state"] == "stopping"
    assert len(serving.client("root").get("/api/v1/jobs?limit=5").json()) == 1


def test_a_kept_answer_is_for_those_alone_who_may_see_the_job(serving: Serving) -> None:
    serving.add_job("theirs", "bob")
    for user, status in (("bob", 200), ("alice", 404), ("root", 200), ("alice", 404)):
        assert serving.client(user).get("/api/v1/jobs/theirs").status_code == status
        listed = serving.client(user).get("/api/v1/jobs").json()
        assert len(listed) == (status == 200)
        assert serving.client("alice").get("/api/v1/jobs?user=bob").json() == []


def test_kept_answers_take_little_memory(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    serving.add_job("growing")
    client, kept = serving.client(), serving.app.state.service.answers
    size = len(client.get("/api/v1/jobs").content)
    monkeypatch.setattr(answers, "MOST_BYTES", 3 * size)
    for limit in range(1, 20):
        client.get(f"/api/v1/jobs?limit={limit}")
    assert len(kept._kept) == 3
