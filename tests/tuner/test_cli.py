"""The command line: exit statuses, one-line errors, what is imported, what is printed."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.space import known_spaces
from tests.search_spaces.test_yaml_file import YAMLISH
from tests.trainables.data.layouts import class_folders, write_folder
from tests.tuner.made_runs import make_run
from tests.tuner.test_spec import KNOB_NAMES, TEXTS, plausible_sets
from trainables.config import DataConfig
from trainables.data.source import prepare
from tuner.cli import COMMANDS, cli
from tuner.cli.search import flags_given, known_images, parse_ranges, parse_sets
from tuner.record import Record
from tuner.spec import FLAGS, build_spec

ROOT = Path(__file__).resolve().parents[2]
CURVES = [
    ({"T": 2}, [0.2, 0.5, 0.4], "completed"),
    ({"T": 3}, [0.3], "pruned"),
    ({"T": 4}, [0.6, 0.9], "crashed"),
]


def tuner(*arguments: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def refused(*arguments: str) -> str:
    """Return the one line that a wrong command line gets on stderr, with exit status 2."""
    result = tuner(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with one finished and one interrupted run."""
    make_run(tmp_path / "runs" / "first", CURVES)
    interrupted = [({"T": 5}, [0.1], "waiting")]
    make_run(tmp_path / "runs" / "second", interrupted, state="interrupted", reason="interrupted")
    return tmp_path / "runs"


def imported_by(code: str) -> set[str]:
    text = f"import sys\n{code}\nprint('MODULES', *sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(result.stdout.partition("MODULES")[2].split())


def test_help_imports_nothing_heavy() -> None:
    code = "from tuner.cli import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
    heavy = {"torch", "ray", "optuna", "pydantic", "rich", "numpy", "ruamel.yaml", "asyncio"}
    assert imported_by(code) & heavy == set()


def test_commands_that_need_no_torch_or_ray_import_neither() -> None:
    for module in ("runs", "explain", "machine"):
        loaded = imported_by(f"import tuner.cli.{module}")
        assert loaded & {"torch", "ray", "optuna"} == set(), module


def test_help_answers_at_once() -> None:
    # 0.05 s on an idle machine; 2 s leave room for a busy one.
    durations_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "tuner", "--help"], cwd=ROOT, check=True, capture_output=True
        )
        durations_s.append(time.perf_counter() - began_s)
    assert sorted(durations_s)[2] < 2.0


def test_the_list_of_commands_says_what_each_command_says() -> None:
    text = tuner("--help").stdout
    for name, (_, line) in COMMANDS.items():
        assert f"{name} " in text
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert (command.help or "").splitlines()[0] == line
        further = command.commands if isinstance(command, click.Group) else {"--help": None}
        assert all("--debug" in tuner(name, one, "--help").stdout for one in further)


FURTHER = ("data push", "data list", "data add", "user add", "user list", "user revoke")


@pytest.mark.parametrize(
    "command", ["--help", *(f"{name} --help" for name in (*COMMANDS, *FURTHER))]
)
def test_every_help_fits_80_columns_but_for_long_choices(command: str) -> None:
    for line in tuner(*command.split()).stdout.splitlines():
        assert len(line) <= 80 or "[auto|packed" in line


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("rnu", "Unknown command 'rnu'. Did you mean 'run'?"),
        ("run --nope", "No such option"),
        ("run extra", "unexpected extra argument (extra); a space follows --space"),
        ("run --space periodc_T", "Did you mean 'periodic_T'?"),
        ("run --preset quik", "Did you mean 'quick'?"),
        ("run --sampler tp", "sampler must be one of tpe, random"),
        ("run --scheduler ash", "scheduler must be one of asha, median, none"),
        ("run --preset paper", "Preset paper needs images: name them with --data"),
        ("run --preset fer2013 --dry-run", "Preset fer2013 needs images"),
        ("run --dry-run --data /nope", "No file or folder /nope"),
        ("run --dry-run --data seed.yaml", "seed.yaml"),
        ("run --dry-run --concurrency 9999", "--concurrency must be at most"),
        ("run --dry-run --cpus-per-trial 9999", "--cpus-per-trial must be at most"),
        ("run --dry-run --address localhost:notaport", "an address is HOST:PORT"),
        ("run --dry-run --cache /dev/null/x", "--cache must be a folder, but /dev/null is a file"),
        ("run --address nowhere", "an address is HOST:PORT, ray://HOST:PORT or auto"),
        ("run --trials 0", "trials must be a whole number from 1 to 1000000, but got 0 (--trials)"),
        ("run --trials many", "but got 'many' (--trials)"),
        ("run --epochs 1.5", "but got 1.5 (--epochs)"),
        ("run --gpus-per-trial 0.3", "must divide 1"),
        ("run --audit 2", "audit must be a number from 0 to 1, but got 2 (--audit)"),
        ("run --set T=0", "T must be a whole number of at least 1, but got 0"),
        ("run --set T=-1", "but got -1"),
        ("run --set T=2.5", "but got 2.5"),
        ("run --set T=13", "T must be at most the number of epochs (12), but got 13"),
        ("run --set T", "--set needs NAME=VALUE, such as T=3, but got 'T'."),
        ("run --set =3", "--set needs NAME=VALUE"),
        ("run --set T=[", "Not valid YAML"),
        ("run --set T=1 --set T=2", "--set T is given twice"),
        ("run --set Tt=1", "Did you mean 'T'?"),
        ("run --set width=12 --width 8", "width is given both --width and --set; keep one."),
        ("run --set method=dynamic", "would put another arm under the name of space periodic_T"),
        ("run --space baseline --set T=3", "--set T has no effect in space baseline"),
        ("run --set Constant=3", "--set Constant has no effect in space periodic_T"),
        ("run --set position=bn3", "position must be one of bn1, bn2, shortcut, all"),
        ("run --space dynamic --set Constant=0", "Constant must be a number greater than 0"),
        ("run --space dynamic --set w_init=1", "w_init must be a number greater than 0 and less"),
        ("run --range T=2", "--range needs NAME=LOW:HIGH"),
        ("run --range T=a:b", "low of T must be a whole number"),
        ("run --range T=1:100", "T must stay within 1:6"),
        ("run --trunks seed.yaml", "--trunks must be a folder, but"),
        ("run --trunks x --no-share", "trunks needs sharing, but share is off"),
        ("run --trunks-gb 0", "trunks_gb must be a number greater than 0"),
        ("run --brackets 0", "brackets must be a whole number from 1 to 16, but got 0"),
        ("run --brackets 9", "brackets must be at most 3"),
        ("run --seeds 2 --before-injection true", "before_injection needs seeds fresh"),
        ("run --name a/b", "--name must be 1 to 100 letters"),
        ("run --name first", "Run 'first' exists"),
        ("run --space periodic --sampler cmaes", "Sampler cmaes searches numbers only"),
        ("run --format csv", "'csv' is not one of"),
        ("resume frist", "Unknown run 'frist'. Did you mean 'first'?"),
        ("resume first --more-trials 0", "--more-trials must be a whole number of at least 1"),
        ("resume first --more-gpu-hours x", "--more-gpu-hours must be a number greater than 0"),
        ("status frist", "Did you mean 'first'?"),
        ("export frist -o x.csv", "Did you mean 'first'?"),
        ("export first -o x.xlsx", "x.xlsx ends in neither .csv, .parquet nor .json"),
        ("export first -o none/x.csv", "there is no folder none; make it first"),
        ("tensorboard first", "has no curves yet"),
        ("show seed.yaml", "seed is no knob; the run sets it (space seed)."),
        ("show no_T.yaml", "T is required by the periodic method, but is missing"),
        ("show periodc_T", "Unknown space or run 'periodc_T'. Did you mean 'periodic_T'?"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    runs: Path, monkeypatch: pytest.MonkeyPatch, line: str, part: str
) -> None:
    (runs.parent / "seed.yaml").write_text(
        "summary: s\nknobs: {seed: {kind: int, low: 1, high: 3, source: s}}"
    )
    (runs.parent / "no_T.yaml").write_text("summary: s\nfixed: {method: periodic}")
    monkeypatch.chdir(runs.parent)
    before = sorted(runs.parent.rglob("*"))
    first, *rest = line.split()
    takes_runs = first in COMMANDS
    told = refused(first, *rest, *(["--runs", str(runs)] if takes_runs else []))
    assert part in told
    assert sorted(runs.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a:\n\tb: 1", "c.yaml, line 2"),
        ("epochs: 3\nepochs: 4", "duplicate key"),
        ("epochs: !!python/object/apply:os.system ['true']", "python"),
        ("budget: {trials: 0}", "c.yaml, budget.trials"),
        ("nonsense: 1", "Unknown field 'nonsense'"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert part in refused("run", "--dry-run", "--config", str(tmp_path / "c.yaml"))


def test_debug_shows_the_traceback() -> None:
    result = tuner("run", "--trials", "0", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_an_unexpected_error_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("tuner.cli.explain.known_spaces", broken)
    result = tuner("spaces")
    assert result.exit_code == 1
    assert result.stderr == (
        "Unexpected error: RuntimeError: two lines; --debug shows the traceback.\n"
    )


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m tuner show dynamic | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert result.stderr == ""


@pytest.mark.parametrize("space", known_spaces())
def test_a_dry_run_writes_nothing(tmp_path: Path, space: str) -> None:
    runs, cache = tmp_path / "runs", tmp_path / "cache"
    result = tuner(
        "run", "--dry-run", "--space", space, "--runs", str(runs), "--cache", str(cache),
        "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0
    planned = json.loads(result.stdout)
    assert planned["trials"] == 16
    assert planned["writes"]["run"].startswith(str(runs))
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_refuses_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    told = refused("run", "--dry-run", "--gpus-per-trial", "1")
    assert told.startswith("--gpus-per-trial 1 needs a GPU, but Ray sees none here. Leave it out")


def test_a_dry_run_passes_over_a_damaged_record(runs: Path) -> None:
    (runs / "third").mkdir()
    (runs / "third" / "record.db").write_text("no database")
    result = tuner("run", "--dry-run", "--runs", str(runs))
    assert result.exit_code == 0
    assert "as in run" in " ".join(result.stdout.split())


def test_a_dry_run_tells_data_and_network(tmp_path: Path) -> None:
    arguments = ["--runs", str(tmp_path), "--cache", str(tmp_path), "--limit", "100"]
    lines = tuner("run", "--dry-run", "--width", "6", *arguments).stdout.splitlines()
    assert "  data     synthetic, 100 training images, at most 100 images a split" in lines
    assert "  network  depth=18 width=6 stem=imagenet" in lines


def test_what_is_known_of_images_is_of_a_packed_set_or_at_most_the_limit(tmp_path: Path) -> None:
    files = class_folders(["cat", "dog"], 20, ["train", "val", "test"])
    files["val/cat/copy.png"] = files["train/cat/0000.png"]
    source = str(write_folder(tmp_path / "set", files))
    cache = tmp_path / "cache"
    assert known_images(DataConfig(source=source), cache) == (None, 0, False)
    assert known_images(DataConfig(source=source, limit=30), cache) == (30, 0, False)
    arguments = ("--data", source, "--cache", str(cache), "--runs", str(tmp_path / "runs"))
    told = " ".join(tuner("run", "--dry-run", *arguments).stdout.split())
    assert "not read yet: `tuner data`" in told
    assert not cache.exists()
    prepare(DataConfig(source=source), cache)
    assert known_images(DataConfig(source=source), cache) == (40, 1, True)
    assert known_images(DataConfig(source=source, limit=30), cache).train == 30
    assert known_images(DataConfig(), cache) == (1500, 0, True)
    told = " ".join(tuner("run", "--dry-run", *arguments).stdout.split())
    assert "warning 1 of the validation images are training images, too" in told
    assert "--copies drop" in told


def test_early_stopping_of_seeds_alone_is_warned_of(tmp_path: Path) -> None:
    def planned(*arguments: str) -> str:
        told = tuner("run", "--dry-run", "--runs", str(tmp_path), *arguments).stdout
        return " ".join(told.split())

    warned = "nothing varies but the seed, and early stopping"
    assert warned in planned("--space", "baseline")
    assert warned in planned("--space", "periodic_T", "--set", "T=3")
    assert warned not in planned("--space", "periodic_T")
    assert warned not in planned("--space", "baseline", "--scheduler", "none")
    assert warned not in planned("--space", "baseline", "--trials", "1")


def test_flags_reach_the_fields_that_they_name() -> None:
    given_ = {"trials": "3", "seeds": "fixed", "audit": "0.5", "address": "1e3", "data": "x"}
    assert flags_given(given_) == {
        "budget": {"trials": 3}, "seeds": "fixed", "scheduler": {"audit": 0.5},
        "resources": {"address": "1e3"}, "data": {"source": str(Path("x").absolute())},
    }  # fmt: skip
    assert flags_given({"data": "synthetic"}) == {"data": {"source": "synthetic"}}


def test_values_of_set_are_yaml_1_2() -> None:
    texts = ["T=3", "lr=1e-3", "stem=small", "stages=[1, 2]", "augment=no", "max_loss=~"]
    assert parse_sets(texts) == {
        "T": 3, "lr": 0.001, "stem": "small", "stages": [1, 2], "augment": "no", "max_loss": None,
    }  # fmt: skip
    assert parse_ranges(["T=2:20", "lr = 1e-5 : 1e-3"]) == {
        "T": ("2", "20"), "lr": ("1e-5", "1e-3"),
    }  # fmt: skip


def test_list_prints_every_run_in_every_format(runs: Path) -> None:
    table = tuner("list", "--runs", str(runs)).stdout
    assert [line.split()[0] for line in table.splitlines()] == ["run", "first", "second"]
    rows = json.loads(tuner("list", "--runs", str(runs), "--format", "json").stdout)
    assert [(row["run"], row["state"], row["best"]) for row in rows] == [
        ("first", "finished", 0.5),
        ("second", "interrupted", None),
    ]
    os.utime(runs / "first")  # who looked at it last does not count
    table = tuner("list", "--runs", str(runs)).stdout
    assert [line.split()[0] for line in table.splitlines()] == ["run", "first", "second"]
    text = tuner("list", "--runs", str(runs), "--format", "csv").stdout
    assert [row["run"] for row in csv.DictReader(io.StringIO(text))] == ["first", "second"]


def test_list_names_folders_that_mean_the_same_elsewhere(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    rows = json.loads(tuner("list", "--format", "json").stdout)
    assert [row["folder"] for row in rows] == [str(runs / "first"), str(runs / "second")]


def test_a_space_of_a_long_training_or_a_deeper_network_is_explained(tmp_path: Path) -> None:
    for name, fixed in (("long", "T: 400"), ("deep", "T: 2, position: bn3")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"summary: s\nfixed: {{method: periodic, {fixed}}}")
        assert tuner("show", str(path)).stdout.startswith(name)


def test_resuming_a_finished_run_says_so_and_starts_nothing(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.engine.prepared", None)  # the first thing that a resume would do
    result = tuner("resume", "first", "--runs", str(runs))
    assert result.exit_code == 3  # the run's own: one trial crashed
    assert result.stderr == (
        "Run first has finished: the budget of 16 trials is spent. To go on, add --more-trials.\n"
    )
    assert result.stdout.startswith("Run first finished")
    with Record.open(runs / "first") as record:
        assert [event.kind for event in record.events()] == ["slots"]


def test_a_damaged_run_does_not_hide_the_others(runs: Path) -> None:
    (runs / "third").mkdir()
    (runs / "third" / "record.db").write_text("no database")
    rows = json.loads(tuner("list", "--runs", str(runs), "--format", "json").stdout)
    assert {row["run"]: row["state"] for row in rows}["third"] == "unreadable"
    assert len(rows) == 3


def test_status_shows_counts_best_and_cost(runs: Path) -> None:
    text = tuner("status", "first", "--runs", str(runs)).stdout
    assert "1 completed" in text
    assert "best 0.5000" in text
    found = json.loads(tuner("status", str(runs / "first"), "--format", "json").stdout)
    assert found["cost"]["epochs"] == 6
    assert found["running"] == []


def test_watching_a_run_that_has_ended_prints_its_summary(runs: Path) -> None:
    result = tuner("status", "first", "--watch", "--runs", str(runs))
    assert result.exit_code == 3  # one trial crashed
    assert "score   0.5000" in result.stdout


def test_show_explains_a_space_and_a_run(runs: Path) -> None:
    space = tuner("show", "dynamic").stdout
    for part in ("Constant", "on a log scale", "Paper section", "Allowed:", "(dynamic)"):
        assert part in space
    run = tuner("show", "first", "--runs", str(runs)).stdout
    for part in ("Best trials", "Failed trials (1)", "out of memory", "digest", "T=2"):
        assert part in run
    facts = json.loads(tuner("show", "first", "--runs", str(runs), "--format", "json").stdout)
    assert len(facts["trial_rows"]) == 3


def test_show_tells_the_network_and_training_that_the_trials_had(tmp_path: Path) -> None:
    sets = {"lr": 0.01, "batch_size": 16, "width": 12}
    spec = build_spec("quick", None, {"space": "baseline"}, sets, {})
    make_run(tmp_path / "set", [({}, [0.2], "completed")], spec=spec)
    (tmp_path / "own.yaml").write_text("summary: s\nfixed: {lr: 0.01, batch_size: 16, width: 12}")
    fixed = build_spec("quick", None, {"space": str(tmp_path / "own.yaml")}, {}, {})
    make_run(tmp_path / "fixed", [({}, [0.2], "completed")], spec=fixed)
    for name in ("set", "fixed"):
        text = tuner("show", name, "--runs", str(tmp_path)).stdout
        (network,) = (line for line in text.splitlines() if line.startswith("  network"))
        assert "width=12" in network
        assert "trial    12 epochs, optimizer=adam lr=0.01 batch_size=16" in text


def test_export_writes_the_trials_of_several_runs(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    result = tuner("export", "first", "second", "-o", str(path), "--runs", str(runs))
    assert result.exit_code == 0
    assert result.stdout == ""
    rows = list(csv.DictReader(path.open()))
    assert [row["knob.T"] for row in rows] == ["2", "3", "4", "5"]
    text = tuner("export", "first", "-o", "-", "--format", "json", "--runs", str(runs)).stdout
    assert len(json.loads(text)) == 3


def test_run_prints_one_object_and_the_status_of_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is replaced by one that leaves a made run; its own tests run it for real."""

    def start(spec: Any, *, runs: Path, name: str, command: list[str], **rest: Any) -> Path:
        rest["notice"]("packing")
        assert command[:2] == ["tuner", "run"]
        return make_run(runs / name, CURVES, spec=spec)

    monkeypatch.setattr("tuner.engine.start", start)
    result = tuner("run", "--runs", str(tmp_path), "--name", "n", "--format", "json")
    assert result.exit_code == 3
    assert result.stderr == "packing\n"
    found = json.loads(result.stdout)
    assert {"run", "folder", "state", "trials", "best", "cost"} <= set(found)
    assert set(found["best"]) >= {"config", "score", "test_score", "epoch"}
    with Record.open(tmp_path / "n") as record:
        assert record.run().spec["space"]["name"] == "periodic_T"


@pytest.mark.parametrize("command", [["run", "--name", "n"], ["resume", "first"]])
def test_what_ray_prints_goes_to_stderr_and_stdout_holds_one_object(
    runs: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def start(*_: Any, runs: Path, name: str, **rest: Any) -> Path:
        print("(raylet) A worker died or was killed.")
        return make_run(runs / name, CURVES)

    def resume(*_: Any, **rest: Any) -> None:
        print("(raylet) A worker died or was killed.")

    monkeypatch.setattr("tuner.engine.start", start)
    monkeypatch.setattr("tuner.engine.resume", resume)
    result = tuner(*command, "--runs", str(runs), "--format", "json")
    assert json.loads(result.stdout)["run"] == command[-1]
    assert "(raylet)" in result.stderr


OPTIONS = [flag for path, flag in FLAGS.items() if path != "data.source"]
ARGUMENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([*OPTIONS, "--space", "--preset", "--name", "--set", "--range"]),
                  TEXTS | st.sampled_from([*known_spaces(), "quick", "T=3", "T=2:4"])),
        st.tuples(st.just("--set"), st.builds("{}={}".format, st.sampled_from(KNOB_NAMES), TEXTS)),
        st.tuples(st.just("--range"),
                  st.builds("{}={}:{}".format, st.sampled_from(KNOB_NAMES), TEXTS, TEXTS)),
    ),
    max_size=4,
)  # fmt: skip
QUIET = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def dry_run(folder: Path, *arguments: str) -> None:
    """A dry run ends with status 0 or 2 and one line, and writes nothing."""
    result = tuner("run", *arguments, "--dry-run", "--runs", str(folder / "runs"))
    assert result.exit_code in (0, 2)
    if result.exit_code:
        assert len(result.stderr.splitlines()) == 1
    assert not (folder / "runs").exists()


@QUIET
@given(pairs=ARGUMENTS)
def test_no_arguments_give_a_traceback(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    arguments = [f"{flag}={text}" for flag, text in pairs]
    dry_run(tmp_path, *(text for text in arguments if "\0" not in text))  # argv cannot hold it


@QUIET
@given(space=st.sampled_from(known_spaces()), sets=plausible_sets(3))
def test_no_plausible_values_give_a_traceback(
    tmp_path: Path, space: str, sets: dict[str, Any]
) -> None:
    dry_run(tmp_path, "--space", space, *(f"--set={k}={json.dumps(v)}" for k, v in sets.items()))


@QUIET
@given(text=YAMLISH, flag=st.sampled_from(["--config", "--space"]))
def test_no_file_gives_a_traceback(tmp_path: Path, text: str, flag: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    dry_run(tmp_path, flag, str(path))


def test_version_and_module_entry(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tuner", "spaces", "--format", "csv"],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "80"}, check=True,
    )  # fmt: skip
    assert result.stdout.splitlines()[0] == "space,arm,knobs,summary"
    assert len(result.stdout.splitlines()) == 1 + len(known_spaces())
