import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FACE_SIZE, Brightener, FakeDetector, face_at, photo

from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.backends.restorer import Descriptor
from facerestore.config import RestoreConfig
from facerestore.errors import ConfigError, ImageError, WeightsError
from facerestore.evaluation.sheet import (
    SheetMaker,
    contact_sheet,
    network_configs,
    sheet_configs,
    sheet_pipelines,
    split_list,
)
from facerestore.evaluation.sheet.picture import (
    LEAST_CELL_PX,
    MOST_CELL_PX,
    SheetCell,
    SheetColumn,
    SheetRow,
    cell_side,
    drawable,
    sheet_picture,
)
from facerestore.io import read_image, write_image
from facerestore.pictures.compare import close_up, face_square
from facerestore.pictures.layout import PAPER
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.parts import PipelineFacts
from facerestore.pipeline.restore import RestorePipeline
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import save_state_dict

GROUP = Path(__file__).parents[1] / "docs" / "pictures" / "small_faces.jpg"
LEFT, RIGHT = face_at(10, 20), face_at(120, 30)


class Darkener(Brightener):
    descriptor = Descriptor(name="darkener")

    def restore(self, faces, parsing_maps=None):
        return [1 - face for face in super().restore(faces, parsing_maps)]


class Labeller:
    """Finds skin everywhere; remembers how often it was asked."""

    name = "labeller"

    def __init__(self):
        self.calls = 0

    def parse(self, faces):
        self.calls += 1
        return [np.ones(face.lq.shape[:2], np.uint8) for face in faces]


def line(restorer=None, *, weights="brightener.test", commercial_use="yes", parser=None, **options):
    facts = PipelineFacts(weights=weights, commercial_use=commercial_use)
    config = RestoreConfig(**options)
    detector = FakeDetector(LEFT, RIGHT)
    return RestorePipeline(detector, restorer or Brightener(), config=config, facts=facts, parser=parser)


def store(tmp_path):
    return WeightsStore(tmp_path / "home", offline=True)


@pytest.fixture(scope="module")
def tiny_gpen(tmp_path_factory):
    """Return a GPEN of random weights under the official key names."""
    path = tmp_path_factory.mktemp("weights") / "GPEN-tiny.safetensors"
    torch.manual_seed(0)
    network = GPENGenerator(GPENConfig(32, style_dim=8, mapping_layers=2, narrow=1 / 64))
    save_state_dict(path, network.state_dict())
    return path


def test_each_network_runs_once_a_photo_whatever_the_number_of_strengths():
    first, second, parser = Brightener(), Darkener(32), Labeller()
    third = Darkener()
    pipelines = [
        line(first, parser=parser),
        line(second, weights="darkener.test"),
        line(third, weights="third.test", parser=parser),
    ]
    sheet = contact_sheet([photo(seed=1), photo(seed=2)], pipelines, strengths=(0.5, 1.0, 0.25))
    assert first.calls == [2, 2]
    assert second.calls == third.calls == [2, 2]
    # Pipelines that share a parser and a face size share what it says.
    assert parser.calls == 2
    assert len(sheet.pages) == 1
    assert [c["strength"] for c in sheet.facts["columns"]] == [0.5, 1.0, 0.25] * 3
    json.dumps(sheet.facts)


def test_cells_show_the_face_in_the_finished_photo():
    image = photo()
    maker = SheetMaker(
        [line(colour_match=False), line(Darkener(), weights="b", colour_match=False)], strengths=(0, 1)
    )
    rows = maker.compare(image, name="a.png").rows
    assert len(rows) == 2
    nothing, brighter, same, darker = (cell.picture.astype(float) for cell in rows[0].cells)
    assert np.array_equal(nothing, rows[0].before)
    assert np.array_equal(same, rows[0].before)
    middle = np.s_[maker.side_px // 3 : maker.side_px // 2, maker.side_px // 3 : maker.side_px // 2]
    assert brighter[middle].mean() != pytest.approx(rows[0].before[middle].mean(), abs=1)
    assert darker[middle].mean() != pytest.approx(brighter[middle].mean(), abs=1)


def test_a_cell_is_what_the_pipeline_itself_gives():
    image, pipeline = photo(), line(upscale=2, strength=0.6)
    maker = SheetMaker([pipeline])
    cell = maker.compare(image, name="a").rows[1].cells[0]
    square = tuple(2 * value for value in face_square(RIGHT.box))
    expected = close_up(pipeline.run(image).image.pixels, square, maker.side_px)
    assert np.array_equal(cell.picture, np.asarray(expected))


def test_the_pipelines_are_left_as_they_were():
    pipeline = line()
    parts = (pipeline.detector, pipeline.restorer, pipeline.parser, pipeline.config)
    contact_sheet([photo()], [pipeline], strengths=(0.1, 0.2))
    assert (pipeline.detector, pipeline.restorer, pipeline.parser, pipeline.config) == parts


def test_only_chosen_faces_are_rows_and_kept_ones_say_why():
    maker = SheetMaker([line(faces="1", min_face=500), line(faces="1", force=True, weights="b")])
    found = maker.compare(photo(), name="a.png")
    (row,) = found.rows
    kept, restored = row.cells
    assert row.facts.startswith("face 1 ")
    assert "under 500 px" in kept.note
    assert kept.note.startswith("kept: ")
    assert np.array_equal(kept.picture, row.before)
    assert kept.seconds is None
    assert restored.note == ""
    assert restored.seconds > 0
    assert found.facts["found"] == 2
    assert [cell["code"] for cell in found.facts["faces"][0]["cells"]] == ["too-small", "restored"]


def test_a_network_that_fails_fails_its_own_cells_and_runs_once():
    broken = Brightener(fails=True)
    found = SheetMaker([line(broken), line(Darkener(), weights="b")], strengths=(0.5, 1)).compare(
        photo(), name="a.png"
    )
    assert broken.calls == [2]
    assert found.failed == 4
    for row in found.rows:
        assert [cell.picture is None for cell in row.cells] == [True, True, False, False]
        assert "failed on cpu" in row.cells[0].note
    decisions = [cell["decision"] for cell in found.facts["faces"][0]["cells"]]
    assert decisions == ["failed", "failed", "restored", "restored"]
    assert "failed on cpu" in found.facts["faces"][0]["cells"][0]["reason"]


def test_a_photo_that_is_too_large_or_not_square_is_the_photo_s_fault():
    with pytest.raises(ImageError):
        SheetMaker([line(upscale=8, max_pixels=30_000)]).compare(photo(), name="a")
    with pytest.raises(ImageError):
        SheetMaker([line(aligned=True)]).compare(photo(), name="a")


def test_aligned_photos_are_one_face_each():
    sheet = contact_sheet([photo(64, 64)], [line(aligned=True, force=True)])
    assert sheet.facts["detector"] is None
    assert [face["index"] for face in sheet.facts["photos"][0]["faces"]] == [0]


def test_without_a_face_there_is_no_page():
    sheet = contact_sheet([photo(30, 30)], [line()])
    assert sheet.pages == ()
    assert sheet.facts["photos"] == [{"input": "photo 1", "found": 0, "search": None, "faces": []}]


def test_photos_are_read_from_files_and_called_by_their_names(tmp_path):
    write_image(tmp_path / "a.png", photo())
    sheet = contact_sheet([tmp_path / "a.png"], [line()])
    assert sheet.facts["photos"][0]["input"] == "a.png"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_photos_of_any_depth_give_8_bit_pages(dtype):
    (page,) = contact_sheet([photo(dtype=dtype)], [line()]).pages
    assert page.dtype == np.uint8
    assert page.ndim == 3


def test_a_sheet_of_nothing_is_refused():
    for pipelines, strengths in (([], None), ([line()], ()), ([line()], (1.5,)), ([line()] * 33, (0.5, 1))):
        with pytest.raises(ConfigError):
            SheetMaker(pipelines, strengths=strengths)


def test_pages_are_cut_between_rows_and_keep_every_row():
    maker = SheetMaker([line()], page_height_px=1000)
    rows = [row for seed in range(3) for row in maker.compare(photo(seed=seed), name=str(seed)).rows]
    pages = [*maker.add(rows), *maker.finish()]
    assert len(pages) == 3
    assert {page.shape[1] for page in pages} == {pages[0].shape[1]}
    assert list(maker.finish()) == []


def test_the_small_print_says_what_was_pasted_otherwise_than_by_default():
    printed = []

    def draw(*_, footer, **__):
        printed.append(footer)
        return PAPER

    more = {"dial": "0:strength=1", "detail": 0.5, "repair": True, "grain": False, "guard": False}
    for options in ({}, {"mask": "whole", "colour_match": False}, {"region": "eyes=0.2"}, more):
        maker = SheetMaker([line(parser=Labeller(), **options)], draw=draw)
        list(maker.add(maker.compare(photo(), name="a").rows))
        list(maker.finish())
    plain, whole, eyes, rest = printed
    assert not any(word in plain for word in ("mask", "region", "colour", "detail", "damage", "without"))
    assert "dial 0:strength=1 · detail 0.5 · damage filled first · without grain · without guard ·" in rest
    assert "mask whole · without colour match ·" in whole
    assert "region eyes=0.2 ·" in eyes


def test_a_row_higher_than_a_page_has_its_own():
    maker = SheetMaker([line()], page_height_px=1)
    rows = maker.compare(photo(), name="a").rows
    assert len([*maker.add(rows), *maker.finish()]) == 2


def test_weights_are_called_by_their_file_names_unless_two_have_the_same():
    names = ["/a/x.pth", "/b/x.pth", "/b/y.pth", "gpen.bfr-512"]
    columns = SheetMaker([line(weights=name) for name in names]).columns
    assert [column.name for column in columns] == ["/a/x.pth", "/b/x.pth", "y.pth", "gpen.bfr-512"]


@pytest.mark.parametrize(
    ("use", "note"),
    [("no", "non-commercial"), ("unclear", "commercial use unclear"), ("yes", ""), (None, "")],
)
def test_terms_that_bind_are_named(use, note):
    assert SheetMaker([line(commercial_use=use)]).columns[0].licence == note


# --- the picture ---


def tile(side, value=90):
    return np.full((side, side, 3), value, np.uint8)


def plain_row(side, *cells, photo="a.jpg"):
    return SheetRow(photo, "face 0 · 42 px between the eyes", tile(side, 10), cells)


def column(group=0, name="lite.clean-256", **options):
    return SheetColumn(group, name, **{"strength": 1.0, "face_size": 256, **options})


def ink(page):
    return (np.abs(page.astype(int) - PAPER) > 4).any(axis=2)


def test_cells_stand_in_a_grid_and_columns_of_one_pipeline_closer():
    columns = [column(0, strength=0.5), column(0), column(1, "b")]
    rows = [plain_row(200, *(SheetCell(tile(200, 100 + 40 * i)) for i in range(3))) for _ in range(2)]
    page = sheet_picture(columns, rows, side_px=200)
    lefts = [np.flatnonzero((page == value).all(axis=2).any(axis=0))[0] for value in (10, 100, 140, 180)]
    steps = np.diff(lefts)
    assert steps[0] == steps[2] > steps[1] > 200
    for value in (10, 100, 140, 180):
        assert (page == value).all(axis=2).sum() == 2 * 200 * 200


@pytest.mark.parametrize(
    "name", ["GPEN-BFR-2048-with-a-very-long-name.safetensors", "x" * 80, "фото 写真 é.pth", ""]
)
def test_words_stay_on_the_page_and_in_their_columns(name):
    columns = [column(i, name, licence="commercial use unclear") for i in range(3)]
    note = "kept: already sharp: edges 1.2 px wide, noise 2.0 levels, 86 px between the eyes " + name
    cells = [SheetCell(tile(200), note, 1.25), SheetCell(None, note * 9), SheetCell(tile(200))]
    page = sheet_picture(columns, [plain_row(200, *cells, photo=name * 9)], side_px=200, footer=note)
    marks = ink(page)
    # The margins and the gap between each two columns carry no ink, but for the row's title and the small print.
    assert not marks[:20].any()
    assert not marks[-20:].any()
    assert not marks[:, :20].any()
    assert not marks[:, -20:].any()
    heading = marks[:100]
    for left in (24 + 200, 24 + 2 * 200 + 36, 24 + 3 * 200 + 72):
        assert not heading[:, left + 2 : left + 34].any()


def test_the_seconds_are_the_mean_of_the_faces_that_ran():
    def page(*seconds):
        rows = [plain_row(200, SheetCell(tile(200), seconds=value)) for value in seconds]
        return sheet_picture([column()], rows, side_px=200)

    assert np.array_equal(page(1.0, 3.0), page(2.0, 2.0))
    assert np.array_equal(page(2.0, None), page(None, 2.0))
    assert not np.array_equal(page(2.0, 2.0), page(None, None))


def test_letters_that_the_font_lacks_lose_their_accents_or_are_marked():
    assert drawable("café · Łódź…") == "cafe · Lodz..."
    assert drawable("写.jpg\n") == "?.jpg?"


def test_cells_shrink_with_the_number_of_columns_within_limits():
    assert cell_side(1) == cell_side(2) == MOST_CELL_PX
    assert MOST_CELL_PX > cell_side(4) > cell_side(5) > LEAST_CELL_PX
    assert cell_side(30) == LEAST_CELL_PX


# --- which pipelines ---


def test_lists_may_mix_backends_weights_and_files(tmp_path, tiny_gpen):
    config = RestoreConfig(backend=f"lite, {tiny_gpen},lite.clean-256,auto", device="cpu", faces="0")
    configs = sheet_configs(config, store=store(tmp_path))
    # The bundled weights are named twice and taken once; auto is each face's own choice.
    assert [(c.backend, c.weights) for c in configs] == [
        ("lite", None),
        ("auto", str(tiny_gpen)),
        ("auto", None),
    ]
    assert {c.faces for c in configs} == {"0"}
    # Where networks are measured, auto is the one that comes first, which is named already.
    measured = network_configs(config, store=store(tmp_path))
    assert [(c.backend, c.weights) for c in measured] == [("lite", None), ("auto", str(tiny_gpen))]


def test_auto_shows_each_face_as_enhance_restores_it(tmp_path):
    config, known = RestoreConfig(device="cpu", guard=False), store(tmp_path)
    image = read_image(GROUP)
    restored = build_pipeline(config, store=known).run(image)
    used = [face.choice.weights for face in restored.faces]
    assert used == ["lite.detail-256", "lite.clean-256"]
    maker = SheetMaker(sheet_pipelines(replace(config, backend="auto,gpen"), store=known), strengths=(0.5, 1))
    assert [(column.name, column.face_size) for column in maker.columns[::2]] == [
        ("auto", None),
        ("gpen.clean-128", 128),
    ]
    found = maker.compare(image, name="group")
    for row, face, weights in zip(found.rows, restored.faces, used, strict=True):
        expected = close_up(restored.image.pixels, face_square(face.detected.box), maker.side_px)
        assert np.array_equal(row.cells[1].picture, np.asarray(expected))
        assert [cell.note for cell in row.cells] == [f"by {weights}"] * 2 + [""] * 2
        assert row.cells[0].seconds == row.cells[1].seconds > 0
    assert [cell["weights"] for face in found.facts["faces"] for cell in face["cells"][:2]] == [
        name for name in used for _ in range(2)
    ]


def test_all_takes_what_is_installed(tmp_path):
    configs = sheet_configs(RestoreConfig(backend="all"), store=store(tmp_path))
    assert {"lite", "gpen", "psfr", "mmrb"} <= {c.backend for c in configs}
    assert "codeformer" not in [c.backend for c in configs]


def test_weights_may_be_a_list(tmp_path, tiny_gpen):
    config = RestoreConfig(weights=f"lite.clean-256,{tiny_gpen}")
    assert [c.weights for c in sheet_configs(config, store=store(tmp_path))] == [
        "lite.clean-256",
        str(tiny_gpen),
    ]
    for wrong in (replace(config, backend="lite,gpen"), replace(config, backend="all")):
        with pytest.raises(ConfigError, match="not both"):
            sheet_configs(wrong, store=store(tmp_path))


@pytest.mark.parametrize("text", ["lite,,gpen", "lite,", ","])
def test_empty_items_are_refused(text):
    with pytest.raises(ConfigError, match="empty"):
        split_list(text)


def test_a_file_with_a_comma_in_its_name_is_one_item(tmp_path):
    path = tmp_path / "a,b.pth"
    path.touch()
    assert split_list(str(path)) == [str(path)]


def test_an_unknown_item_and_missing_weights_are_told_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"'lyte'.*lite"):
        sheet_configs(RestoreConfig(backend="lite,lyte"), store=store(tmp_path))
    with pytest.raises(WeightsError, match="weights download codeformer"):
        sheet_pipelines(RestoreConfig(backend="lite,codeformer"), store=store(tmp_path))
    with pytest.raises(WeightsError, match=r"weights download gpen\.bfr-256"):
        sheet_pipelines(RestoreConfig(backend="lite,gpen.bfr-256"), store=store(tmp_path))


def test_real_pipelines_share_one_detector_and_make_a_sheet(tmp_path, tiny_gpen):
    config = RestoreConfig(backend=f"lite,{tiny_gpen}", device="cpu", aligned=True, force=True, guard=False)
    pipelines = sheet_pipelines(config, store=store(tmp_path))
    assert [p.restorer.name for p in pipelines] == ["lite", "gpen"]
    sheet = contact_sheet([photo(FACE_SIZE, FACE_SIZE)], pipelines, strengths=(0.5, 1))
    cells = sheet.facts["photos"][0]["faces"][0]["cells"]
    assert [cell["decision"] for cell in cells] == ["restored"] * 4
    assert cells[0]["seconds"] == cells[1]["seconds"] > 0
    found = sheet_pipelines(replace(config, aligned=False), store=store(tmp_path))
    assert found[0].detector is found[1].detector is not None
