"""A whole evaluation, its file, its tables and its picture; and that unlike protocols are never compared."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_fakes import face, fill, found, metric, save
from fakes import Brightener

from facerestore.config import RestoreConfig
from facerestore.degradation import preset
from facerestore.errors import ConfigError, ImageError
from facerestore.evaluation.cases import degraded_source, pair_source, unpaired_source
from facerestore.evaluation.classical import STRENGTHS, Classical, denoised, sharpened, tune, tuning_half
from facerestore.evaluation.comparison import Named, merge
from facerestore.evaluation.methods import Bicubic, MadeElsewhere, Network, Unchanged, folder_method
from facerestore.evaluation.metrics import Chosen, Setting, open_metrics
from facerestore.evaluation.picture import case_picture, ranked_cases, ranking_metric
from facerestore.evaluation.result import read_evaluation
from facerestore.evaluation.run import Order, evaluate
from facerestore.evaluation.tables import gains, markdown
from facerestore.pipeline.restore import RestorePipeline
from facerestore.weights import WeightsStore

SIZE = 64


def order(source, *methods, metrics=("psnr", "ssim"), size=SIZE, **more):
    setting = Setting(WeightsStore(offline=True), torch.device("cpu"), size)
    chosen = open_metrics(metrics, setting, has_reference=source.has_reference, has_reference_set=False)
    return Order(source=source, files=source.files, methods=methods, metrics=chosen, setting=setting, **more)


class Truth:
    """Gives the original back, and fails where it is told to."""

    name = "truth"

    def __init__(self, *fails):
        self.fails, self.facts = fails, {"kind": "fake"}

    def restore(self, case, face_size):
        if case.files.name in self.fails:
            raise ImageError("no picture of this one")
        return case.hq


@pytest.fixture
def source(tmp_path):
    return degraded_source(fill(tmp_path / "hq"), degradation=preset("gfpgan"), seed=3)


def test_input_and_bicubic_always_stand_in_the_table_and_the_truth_wins(source):
    evaluation = evaluate(order(source, Truth()))
    assert [method.name for method in evaluation.methods] == ["input", "bicubic", "truth"]
    cases = [source.load(files, SIZE) for files in source.files]
    expected = [10 * np.log10(255**2 / ((c.lq.astype(float) - c.hq) ** 2).mean()) for c in cases]
    assert evaluation.values("psnr")["input"] == pytest.approx(expected)
    assert evaluation.values("ssim")["truth"] == pytest.approx(np.ones(6))
    gain = gains(evaluation, evaluation.metrics[0], "input")
    assert gain["truth"].mean > 50
    assert gain["input"].mean == 0


def test_a_face_that_fails_anywhere_is_named_and_left_out_of_every_row(source, tmp_path):
    save(tmp_path / "hq" / "a" / "1.png", face(1, 32), overwrite=True)
    told = []
    evaluation = evaluate(order(source, Truth("b/0")), on_failure=told.append)
    assert [each.name for each in evaluation.faces] == ["a/0", "a/2", "b/1", "b/2"]
    assert [(each.name, each.method) for each in evaluation.failures] == [("a/1", None), ("b/0", "truth")]
    assert told == list(evaluation.failures)
    text = markdown(evaluation)
    assert "b/0 (truth): no picture of this one" in text
    assert "a/1: '" in text


def test_nothing_measured_is_an_error_that_names_the_first_fault(source):
    with pytest.raises(ImageError, match="6 failed, the first: a/0: no picture of this one"):
        evaluate(order(source, Truth(*(files.name for files in source.files))))


def test_two_methods_of_one_name_are_refused(source):
    with pytest.raises(ConfigError, match=r"two methods are called 'truth'.*NAME=DIR"):
        evaluate(order(source, Truth(), Truth()))


def test_a_network_sees_the_degraded_face_and_its_output_is_fitted(source):
    restorer = Brightener(SIZE)
    config = RestoreConfig(aligned=True)
    network = Network(RestorePipeline(None, restorer, config=config))
    case = source.load(source.files[0], SIZE)
    assert network.restore(case, 48).shape == (48, 48, 3)
    assert restorer.calls == [1]
    assert network.name == "brightener"
    json.dumps(network.facts)


def test_a_small_input_is_enlarged_bilinearly_and_by_bicubic_interpolation(tmp_path):
    fill(tmp_path / "hq", sets=("a",), count=1)
    fill(tmp_path / "lq", sets=("a",), count=1, size=16)
    pairs = pair_source(tmp_path / "lq", tmp_path / "hq")
    case = pairs.load(pairs.files[0], SIZE)
    plain, bicubic = Unchanged().restore(case, SIZE), Bicubic().restore(case, SIZE)
    assert plain.shape == bicubic.shape == (SIZE, SIZE, 3)
    assert not np.array_equal(plain, bicubic)


def test_pictures_made_elsewhere_are_matched_by_name(source, tmp_path):
    folder = fill(tmp_path / "theirs", count=2)
    method = MadeElsewhere(folder)
    assert (method.name, folder_method(f"rival={folder}").name) == ("theirs", "rival")
    evaluation = evaluate(order(source, method))
    assert len(evaluation.faces) == 4
    assert {each.name for each in evaluation.failures} == {"a/2", "b/2"}
    assert "has no picture of the name 'a/2'" in evaluation.failures[0].message


def test_faces_without_originals_are_judged_alone(tmp_path, monkeypatch):
    import facerestore.evaluation.niqe as niqe

    monkeypatch.setattr(niqe, "_basicsr_niqe", lambda: lambda picture, **_: float(picture.mean()))
    faces = unpaired_source(fill(tmp_path, size=192))
    evaluation = evaluate(order(faces, metrics=("niqe",), size=192))
    assert len(evaluation.values("niqe")["input"]) == 6
    assert "faces without originals" in markdown(evaluation)


class ColourFeatures:
    """Stands for Inception: the mean colours of a face."""

    def __init__(self, setting):
        self.protocol = {"implementation": "mean colours"}

    def of(self, face):
        return torch.from_numpy(face.reshape(-1, 3).mean(axis=0))


def order_of_sets(source, *sets, faces=()):
    """Return an order in which sets are compared by their mean colours, beside these metrics of faces."""
    ordered = order(source, Truth(), features=ColourFeatures)
    return replace(ordered, metrics=Chosen(faces, sets))


def test_sets_are_compared_with_the_originals_or_with_a_folder(tmp_path):
    faces = degraded_source(fill(tmp_path / "hq", count=6), degradation=preset("severe"), seed=3)
    ordered = order_of_sets(faces, "fid", "kid")
    evaluation = evaluate(ordered)
    values = {(each.metric, each.method): each for each in evaluation.set_values}
    assert values["fid", "truth"].value == pytest.approx(0, abs=1e-6)
    assert values["fid", "input"].value > 0
    assert values["kid", "input"].low <= values["kid", "input"].value <= values["kid", "input"].high
    assert evaluation.protocol["reference"]["what"] == "the originals of these faces"
    assert "FID and KID compare with 12 faces" in markdown(evaluation)

    other = fill(tmp_path / "real", count=7)
    save(other / "small.png", face(0, 32))
    again = evaluate(replace(ordered, reference=other))
    assert again.protocol["reference"]["faces"] == 14
    assert [each.name for each in again.failures] == ["reference small"]
    with pytest.raises(ConfigError, match="reference, faces: 12 and 14"):
        merge(Named("a", evaluation), Named("b", again))


def test_too_few_faces_for_sets_say_so_and_the_faces_own_values_stand(source):
    faces = order(source, metrics=("psnr",)).metrics.faces
    evaluation = evaluate(order_of_sets(source, "kid", faces=faces))
    assert [each.name for each in evaluation.metrics] == ["psnr"]
    assert "10 faces or more, and one has 6" in evaluation.unavailable["kid"]
    with pytest.raises(ConfigError, match="10 faces or more, and one has 6"):
        evaluate(order_of_sets(source, "fid"))


def test_a_value_that_is_no_number_is_none_and_counted(source):
    ordered = order(source, Truth(), metrics=("psnr",))
    broken = replace(ordered.metrics.faces[0], measure=_sometimes())
    evaluation = evaluate(replace(ordered, metrics=replace(ordered.metrics, faces=(broken,))))
    assert evaluation.faces[0].values["input"]["psnr"] is None
    assert len(evaluation.values("psnr")["truth"]) == 5
    assert "(5 of 6 faces)" in markdown(evaluation)


def _sometimes():
    calls = iter([float("nan"), *[1.0] * 100])
    return lambda restored, hq: next(calls)


def test_a_result_reads_back_as_it_was(source, tmp_path):
    evaluation = evaluate(order(source, Truth(), groups={"a/0": {"yaw": "left"}}))
    path = tmp_path / "evaluation.json"
    path.write_text(evaluation.to_json())
    assert read_evaluation(path) == evaluation
    summary = {
        (row["by"], row["part"], row["method"], row["metric"]): row
        for row in json.loads(path.read_text())["summary"]
    }
    assert summary["all", "all", "truth", "ssim"]["mean"] == pytest.approx(1)
    assert summary["set", "a", "input", "psnr"]["count"] == 3
    assert summary["yaw", "left", "input", "psnr"]["count"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no result of 'facerestore evaluate'"),
        ('{"schema": "facerestore evaluation 9"}', "schema 'facerestore evaluation 9', expected"),
        ('{"schema": "facerestore evaluation 1"}', "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_evaluation(path)


def test_sets_and_groups_have_rows_of_their_own_from_the_lowest_bin():
    labels = ["2 and more", "below 1", "1 to 2", "below 1"]
    evaluation = found(
        {"input": [1.0, 2, 3, 4], "m": [2.0, 3, 4, 5]},
        names=["a/0", "a/1", "b/0", "b/1"],
        groups=[{"yaw": label} for label in labels],
    )
    text = markdown(evaluation)
    assert "| a | 2 | input | 1.50 |" in text
    assert "| b | 2 | m | 4.50 |" in text
    rows = [line for line in text.split("## By yaw")[1].splitlines() if "| m |" in line]
    assert [row.split("|")[1].strip() for row in rows] == ["below 1", "1 to 2", "2 and more"]
    assert "+1.00" in text


def test_gains_turn_the_better_direction_positive():
    evaluation = found({"input": [5.0] * 9, "m": [4.0] * 9}, metrics=(replace(metric(), better="lower"),))
    assert gains(evaluation, evaluation.metrics[0], "input")["m"].low == 1


def a_result(**more):
    return found({"input": [1.0, 2.0], "bicubic": [1.0, 2.5], "ours": [3.0, 4.0]}, **more)


def another(**more):
    return found({"input": [1.0, 2.0], "bicubic": [1.0, 2.5], "theirs": [4.0, 3.0]}, **more)


def test_results_measured_alike_stand_in_one_table_with_each_method_once():
    merged, notes = merge(Named("a.json", a_result()), Named("b.json", another()))
    assert [method.name for method in merged.methods] == ["input", "bicubic", "ours", "theirs"]
    assert merged.values("psnr")["theirs"].tolist() == [4, 3]
    assert notes == ()
    assert "theirs" in markdown(merged, against="ours")


def test_different_methods_of_one_name_are_told_apart():
    b = found(
        {"input": [1.0, 2.0], "bicubic": [1.0, 2.5], "ours": [9.0, 9.0]},
        methods={"ours": {"kind": "ours", "sha256": "new"}},
    )
    merged, _ = merge(Named("a.json", a_result()), Named("b.json", b))
    assert merged.methods[-1].name == "ours (b.json)"
    assert merged.values("psnr")["ours (b.json)"].tolist() == [9, 9]


def test_versions_that_differ_and_metrics_of_one_alone_are_noted():
    a = a_result(versions={"torch": "1"}, metrics=(metric(), metric("ssim")))
    merged, notes = merge(Named("a", a), Named("b", another(versions={"torch": "2"})))
    assert [each.name for each in merged.metrics] == ["psnr"]
    assert notes == (
        "left out, since only 'a' has them: SSIM",
        "torch was 1 in 'a' and 2 in 'b'; last digits may differ",
    )


BASE = {"source": {"kind": "degradation", "preset": "gfpgan", "seed": 7}, "face_size": 64}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"protocol": {**BASE, "source": {**BASE["source"], "seed": 8}}}, "source, seed: 7 and 8"),
        ({"protocol": {**BASE, "face_size": 512}}, "face size: 64 and 512"),
        ({"protocol": {**BASE, "reference": {"sha256": "x"}}}, "reference: nothing and"),
        ({"sha": "1"}, r"pixels of 2 faces \(such as a/0, a/1\)"),
        ({"names": ["a/0", "a/9"]}, r"faces \(such as a/1, a/9\)"),
        ({"metrics": (metric(network_sha256="x"),)}, "PSNR, network sha256: nothing and x"),
        ({"metrics": (metric("ssim"),)}, "metrics: PSNR and SSIM"),
    ],
)
def test_unlike_protocols_are_refused_and_what_differs_is_named(more, message):
    with pytest.raises(ConfigError, match=f"not measured alike.*{message}"):
        merge(Named("a", a_result()), Named("b", another(**more)))


def test_the_same_method_with_other_values_is_refused():
    b = found({"input": [1.0, 2.1], "theirs": [4.0, 3.0]})
    with pytest.raises(ConfigError, match=r"'input' has PSNR 2 on 'a/1' in 'a' and 2.1 in 'b'"):
        merge(Named("a", a_result()), Named("b", b))


def test_the_classical_baseline_takes_the_best_point_of_its_grid_and_says_what_it_saw(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(4):
        smooth = np.full((SIZE, SIZE, 3), 60 + 30 * k, np.float64)
        save(tmp_path / "hq" / f"{k}.png", smooth.astype(np.uint8))
        noisy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        save(tmp_path / "lq" / f"{k}.png", noisy)
    pairs = pair_source(tmp_path / "lq", tmp_path / "hq")
    told = []
    tuned = tune(pairs, pairs.files, SIZE, seed=1, on_face=told.append)
    assert tuned.strength == max(STRENGTHS)
    assert tuned.amount == 0
    assert tuned.facts["tuned_on"] == told == [f.name for f in tuning_half(pairs.files, seed=1)]
    assert len(told) == 2
    evaluation = evaluate(order(pairs, tuned))
    assert gains(evaluation, evaluation.metrics[0], "input")["NLM + unsharp"].mean > 5


def test_sharpening_raises_contrast_and_nothing_changes_nothing():
    picture = face(0, SIZE)
    assert denoised(picture, 0) is picture
    assert sharpened(picture, 0) is picture
    assert sharpened(picture // 2 + 60, 1.0).std() > (picture // 2 + 60).std()
    assert Classical(0.0, 0.0).name == "NLM + unsharp"


def test_the_classical_baseline_needs_originals_and_faces(tmp_path):
    faces = unpaired_source(fill(tmp_path, count=1))
    with pytest.raises(ConfigError, match="leave out --classical"):
        tune(faces, faces.files, SIZE, seed=1)
    with pytest.raises(ConfigError, match="there are 2"):
        tuning_half(faces.files, seed=1)


def test_cases_are_ranked_by_gain_and_stand_once():
    evaluation = found({"input": [1.0] * 5, "m": [1.0, 5, 3, 0, 2]})
    by = ranking_metric(evaluation)
    cases = ranked_cases(evaluation, "m", by, shown=2)
    assert [(case.face.name, case.gain, case.is_best) for case in cases] == [
        ("a/1", 4, True),
        ("a/2", 2, True),
        ("a/3", -1, False),
        ("a/0", 0, False),
    ]
    # Of five the middle one is neither good nor bad.
    assert len(ranked_cases(evaluation, "m", by, shown=9)) == 4


def test_the_picture_has_a_row_for_each_case(source):
    ordered = order(source, Truth())
    evaluation = evaluate(ordered)
    picture = case_picture(evaluation, source, Truth(), metric=ranking_metric(evaluation), before=Unchanged())
    assert picture.dtype == np.uint8
    # Three cells of the best case and three of the worst beside each other; three such rows.
    assert picture.shape[1] > 6 * 256
    assert 3 * 256 < picture.shape[0] < 5 * 256
    assert picture.std() > 10
