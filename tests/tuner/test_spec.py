"""A run's specification: layers, rules, digest, and that nothing a user writes breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from search_spaces.model import UserError
from search_spaces.space import known_spaces, load_space
from tests.search_spaces.test_space import SPACES, VALUES
from tests.search_spaces.test_yaml_file import YAMLISH
from trainables.config import SECTIONS, canonical_json
from tuner.spec import (
    FLAGS,
    RunSpec,
    build_spec,
    in_effect,
    known_presets,
    load_preset,
    merged,
)

KNOB_NAMES = [name for model in SECTIONS.values() for name in model.model_fields]
NAMES = st.sampled_from([*KNOB_NAMES, "epochs", "seed", "x", ""])
TEXTS = st.one_of(
    st.sampled_from(["1", "2", "3", "0", "-1", "2.5", "nan", "inf", "1e999", "9" * 400, "epochs",
                     "epochs/2", "bn3", "periodic", "dynamic", "none", "true", "50", "step"]),
    st.text(max_size=6),
)  # fmt: skip
FIELD_VALUES = st.one_of(
    VALUES, st.sampled_from([1, 2, 12, 60, 0.5, "tpe", "grid", "asha", "median", "fresh", None])
)


EXTREMES = [0, 1, 2, 3, 12, 64, 1024, 10**9, 0.0, 5e-324, 1e-12, 0.1, 0.5, 0.999999, 1.0, 1e300]
PLAUSIBLE = {
    name: st.sampled_from(
        list(get_args(field.annotation)) if get_origin(field.annotation) is Literal else EXTREMES
    )
    for model in SECTIONS.values()
    for name, field in model.model_fields.items()
}
"""Values of each knob that are right, or numbers at the ends of what may be right."""


def plausible_sets(most: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a few knobs with plausible values."""
    names = st.lists(st.sampled_from(KNOB_NAMES), max_size=most, unique=True)
    return names.flatmap(lambda some: st.fixed_dictionaries({n: PLAUSIBLE[n] for n in some}))


def built(
    flags: dict[str, Any] | None = None,
    sets: dict[str, Any] | None = None,
    ranges: dict[str, tuple[str, str]] | None = None,
    file: Path | None = None,
    preset: str = "quick",
) -> RunSpec:
    return build_spec(preset, file, flags or {}, sets or {}, ranges or {})


@pytest.mark.parametrize("preset", known_presets())
@pytest.mark.parametrize("space", known_spaces())
def test_every_preset_and_space_fit(preset: str, space: str) -> None:
    images = {} if preset == "quick" else {"data": {"source": "images.zip"}}
    assert built({"space": space, **images}, preset=preset).space.name == space


def test_flags_override_the_file_and_the_file_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("network: {width: 12, depth: 34}\nepochs: 8\nspace: dropout")
    spec = built({"network": {"width": 6}}, file=file)
    assert (spec.network.width, spec.network.depth, spec.epochs) == (6, 34, 8)
    assert spec.space.name == "dropout"
    assert spec.training.lr == load_preset("quick")["training"]["lr"]


def test_a_budget_replaces_the_presets() -> None:
    assert built().budget.trials == 16
    budget = built({"budget": {"gpu_hours": 2.0}}).budget
    assert (budget.trials, budget.gpu_hours) == (None, 2.0)


def test_merging_keeps_the_layers_as_they_were() -> None:
    low, high = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert merged(low, high) == {"a": {"x": 1, "y": 2}}
    assert (low, high) == ({"a": {"x": 1}}, {"a": {"y": 2}})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sets": {"T": 0}}, "T must be a whole number of at least 1, but got 0 (space periodic_T,"
         " knob T)."),
        ({"sets": {"T": -1}}, "T must be a whole number of at least 1, but got -1 (space"
         " periodic_T, knob T)."),
        ({"sets": {"T": 2.5}}, "T must be a whole number of at least 1, but got 2.5 (space"
         " periodic_T, knob T)."),
        ({"sets": {"T": 13}}, "T must be at most the number of epochs (12), but got 13 (space"
         " periodic_T)."),
        ({"sets": {"T": 10**400, "interval_unit": "step"}}, "T must be at most 1000000000 steps"),
        ({"sets": {"T": True}}, "but got true"),
        ({"sets": {"position": "bn3"}}, "position must be one of bn1, bn2, shortcut, all for"
         " ResNet-18, but got 'bn3' (space periodic_T)."),
        ({"flags": {"space": "dynamic"}, "sets": {"position": "shortcut"}}, "position must name a"
         " ReLU"),
        ({"flags": {"space": "dynamic"}, "sets": {"Constant": 0}}, "Constant must be a number"
         " greater than 0, but got 0 (space dynamic, knob Constant)."),
        ({"flags": {"space": "dynamic"}, "sets": {"w_init": 1}}, "w_init must be a number greater"
         " than 0 and less than 1, but got 1 (space dynamic, knob w_init)."),
        ({"flags": {"space": "periodc_T"}}, "Unknown space 'periodc_T'. Did you mean"
         " 'periodic_T'?"),
        ({"preset": "quik"}, "Unknown preset 'quik'. Did you mean 'quick'?"),
        ({"preset": "fer2013"}, "Preset fer2013 needs images: name them with --data, such as --data"
         " fer2013.zip."),
        ({"preset": "paper", "flags": {"data": {"limit": 100}}}, "Preset paper needs images"),
        ({"sets": {"Tt": 1}}, "Unknown knob 'Tt'. Did you mean 'T'?"),
        ({"sets": {"epochs": 1}}, "Use --epochs to set epochs, not --set."),
        ({"flags": {"budget": {"trials": 0}}}, "trials must be a whole number from 1 to 1000000,"
         " but got 0 (--trials)."),
        ({"flags": {"sampler": {"name": "tp"}}}, "sampler must be one of tpe, random, gp, cmaes,"
         " grid, sobol, but got 'tp' (--sampler)."),
        ({"flags": {"seeds": "frsh"}}, "(--seeds)."),
        ({"flags": {"seeds": 17}}, "seeds must be at most the number of trials (16)"),
        ({"flags": {"resources": {"gpus_per_trial": 0.3}}}, "gpus_per_trial must divide 1, such as"
         " 1, 0.5 or 0.25, but got 0.3 (--gpus-per-trial)."),
        ({"flags": {"scheduler": {"first_rung": 12}}}, "first_rung must be less than epochs (12)"),
        ({"ranges": {"T": ("2", "7")}}, "T must stay within 1:6"),
        ({"ranges": {"t": ("2", "7")}}, "Space periodic_T varies T alone, not 't'. A space file"),
        ({"flags": {"space": "baseline"}, "ranges": {"T": ("1", "2")}}, "Space baseline varies"
         " nothing but the seed, not 'T'."),
        ({"flags": {"space": "periodic"}, "ranges": {"position": ("1", "2")}}, "position is a"
         " choice of bn1, bn2, shortcut, all (space periodic, knob position). Hold one with --set"
         " position=bn1"),
        ({"sets": {"limit": 5}}, "Use --limit to set limit, not --set."),
        ({"sets": {"trials": 5}}, "Use --trials to set trials, not --set."),
        ({"sets": {"classes": "all"}}, "Set classes under data in a --config file, not with"),
        ({"ranges": {"T": ("2", "3")}, "sets": {"T": 2}}, "both --set and --range"),
        ({"sets": {"lr": -1}}, "lr must be a number greater than 0, but got -1 (--set lr)."),
        ({"sets": {"width": 12}, "flags": {"network": {"width": 8}}}, "width is given both --width"
         " and --set; keep one."),
        ({"sets": {"method": "dynamic"}}, "--set method='dynamic' would put another arm under the"
         " name of space periodic_T, whose method is periodic; choose another --space."),
        ({"flags": {"space": "baseline"}, "sets": {"T": 3}}, "--set T has no effect in space"
         " baseline: periodic injection reads it, but the method here is none."),
        ({"flags": {"space": "baseline"}, "sets": {"position": "bn2"}}, "periodic and dynamic"
         " injection reads it"),
        ({"sets": {"Constant": 3}}, "--set Constant has no effect in space periodic_T: dynamic"
         " injection reads it, but the method here is periodic."),
        ({"flags": {"space": "dynamic"}, "sets": {"T": 3}}, "--set T has no effect in space"
         " dynamic"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_the_users_words(change: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        built(**change)
    assert line in str(caught.value)


def test_what_is_set_of_network_and_training_stands_in_those_sections() -> None:
    sets = {"lr": 0.01, "batch_size": 16, "width": 12, "w_init": 0.1}
    spec = built({"space": "dynamic_constant"}, sets)
    assert (spec.training.lr, spec.training.batch_size, spec.network.width) == (0.01, 16, 12)
    own = load_space("dynamic_constant").fixed
    assert spec.space.fixed == {**own, "w_init": 0.1}
    trial = spec.trial({"Constant": 1.0}, 0)
    assert (trial.training.lr, trial.network.width, trial.injection.w_init) == (0.01, 12, 0.1)


def test_what_is_set_to_the_default_is_the_same_run() -> None:
    assert built(sets={"width": 8, "lr": 0.001}).digest == built().digest


def test_a_knob_of_the_training_that_is_set_no_longer_varies(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    knob = "{kind: float, low: 1.0e-5, high: 1.0e-2, log: true, source: s}"
    file.write_text(f"summary: s\nfixed: {{batch_size: 32}}\nknobs:\n  lr: {knob}")
    spec = built({"space": str(file)}, {"lr": 0.01})
    assert spec.space.knobs == {}
    assert spec.trial({}, 0).training.lr == spec.training.lr == 0.01


def test_what_is_in_effect_is_what_the_space_fixes_and_not_what_it_varies(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    knob = "{kind: float, low: 1.0e-5, high: 1.0e-2, log: true, source: s}"
    file.write_text(f"summary: s\nfixed: {{batch_size: 32, width: 4}}\nknobs:\n  lr: {knob}")
    spec = built({"space": str(file)}).model_dump(mode="json")
    training, network = in_effect(spec, "training"), in_effect(spec, "network")
    assert (training["batch_size"], training["lr"], network["width"]) == (32, "varies", 4)
    assert training["weight_decay"] == spec["training"]["weight_decay"]


def test_a_precision_is_in_effect_whoever_sets_it_and_the_default_changes_no_digest(
    tmp_path: Path,
) -> None:
    """Studies frozen, and trials saved, before there was a choice stay what they were."""
    file = tmp_path / "own.yaml"
    file.write_text("summary: s\nfixed: {precision: bf16}\nknobs: {}")
    dumped = built({"space": str(file)}).model_dump(mode="json")
    assert in_effect(dumped, "training")["precision"] == "bf16"
    assert "precision" not in built().model_dump(mode="json")["training"]
    assert built({"training": {"precision": "fp32"}}).digest == built().digest
    assert built({"training": {"precision": "tf32"}}).digest != built().digest
    trial = built({"training": {"precision": "tf32"}}).examples()[0]
    assert type(trial).model_validate(trial.model_dump(mode="json")) == trial


def test_data_in_a_file_are_found_from_where_the_file_lies(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "c.yaml"
    for source, expected in (
        ("../a.zip", str(tmp_path / "sub" / ".." / "a.zip")),
        ("/b.zip", "/b.zip"),
        ("synthetic", "synthetic"),
        ("~/c.zip", str(Path.home() / "c.zip")),
    ):
        file.write_text(f"data: {{source: {source}}}")
        assert built(file=file).data.source == expected
    assert built({"data": {"source": "/given.zip"}}, file=file).data.source == "/given.zip"


def test_a_file_cannot_call_its_run_a_part_of_a_study(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("study: {name: s, digest: x, stage: census}")
    with pytest.raises(UserError, match=r"study is set by `tuner study`, .*c\.yaml"):
        built(file=file)


def test_a_mistake_in_the_file_names_file_and_field(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("budget: {trials: 0}")
    with pytest.raises(UserError, match=r"trials must .* got 0 \(.*c\.yaml, budget\.trials\)\."):
        built(file=file)
    file.write_text("budget: {tirals: 3}")
    with pytest.raises(UserError, match=r"Unknown field 'tirals'. Did you mean 'trials'"):
        built(file=file)


def test_a_range_over_a_field_of_few_values_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    knob = "{kind: int, low: 18, high: 50, source: s}"
    file.write_text(f"summary: s\nknobs:\n  depth: {knob}")
    with pytest.raises(UserError, match="depth takes no range; list its values"):
        built({"space": str(file)})


def test_the_digest_depends_on_what_decides_results_and_on_nothing_else() -> None:
    base = built().digest
    assert built({"resources": {"concurrency": 1, "retries": 0}}).digest == base
    for flags in ({"seed": 1}, {"epochs": 13}, {"space": "periodic"}, {"budget": {"trials": 3}}):
        assert built(flags).digest != base


def test_every_flag_leads_to_a_field() -> None:
    for path in FLAGS:
        fields: Any = RunSpec
        for part in path.split("."):
            fields = fields.model_fields[part].annotation


def no_traceback(*arguments: Any) -> None:
    try:
        spec = build_spec(*arguments)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        again = RunSpec.model_validate(spec.model_dump(mode="json"))
        assert again.digest == spec.digest
        canonical_json(spec.model_dump(mode="json"))


@given(
    flags=st.fixed_dictionaries(
        {},
        optional={
            "space": st.sampled_from(known_spaces()),
            **dict.fromkeys(("epochs", "seed", "seeds"), FIELD_VALUES),
            **{
                section: st.fixed_dictionaries(
                    {}, optional={path.split(".")[1]: FIELD_VALUES for path in FLAGS
                                  if path.startswith(section + ".")}
                )
                for section in ("data", "network", "sampler", "scheduler", "budget", "resources")
            },
        },
    ),
    sets=st.dictionaries(NAMES, FIELD_VALUES, max_size=2),
    ranges=st.dictionaries(NAMES, st.tuples(TEXTS, TEXTS), max_size=2),
    preset=st.sampled_from(known_presets()),
)  # fmt: skip
def test_no_flags_give_anything_but_a_specification_or_a_user_error(
    flags: dict[str, Any],
    sets: dict[str, Any],
    ranges: dict[str, tuple[str, str]],
    preset: str,
) -> None:
    no_traceback(preset, None, flags, sets, ranges)


@given(space=st.sampled_from(known_spaces()), sets=plausible_sets())
def test_no_plausible_values_give_anything_but_a_specification_or_a_user_error(
    space: str, sets: dict[str, Any]
) -> None:
    no_traceback("quick", None, {"space": space}, sets, {})


@given(text=YAMLISH, space=st.booleans())
def test_no_text_in_a_file_gives_anything_but_a_specification_or_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, space: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "own.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    if space:
        no_traceback("quick", None, {"space": str(path)}, {}, {})
    else:
        no_traceback("quick", path, {}, {}, {})


@given(values=SPACES)
def test_no_space_gives_anything_but_a_specification_or_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "own.yaml"
    try:
        YAML(typ="safe", pure=True).dump(values, path)
    except Exception:  # a text that the writer cannot write back
        return
    no_traceback("quick", None, {"space": str(path)}, {}, {})
