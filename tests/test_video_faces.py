"""Faces in moving pictures: followed, smoothed, eased, steadied. Frames are drawn, so that nothing needs PyAV."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import FACE_SIZE, Brightener, face_at, pipeline, trial_photo

from facerestore.config import RestoreConfig
from facerestore.pipeline import stages
from facerestore.testing.drawn_faces import trial_map
from facerestore.types import Choice, Decision, DecodedImage, Outcome
from facerestore.video.line import ClipLine, restored_frames
from facerestore.video.motion import Cuts, OneEuro, View, motion_of
from facerestore.video.reading import Frame
from facerestore.video.steadying import Steadier
from facerestore.video.tracking import HOLD_S, Track, Tracks, moved_face

RATE = 25.0


def scene(which=0, shift=0.0, size=160):
    """Return a frame of (200, 320) with a drawn face, its square beginning ``shift`` px right of 60, 20."""
    import cv2

    picture = np.full((200, 320, 3), 70 + 20 * which, np.uint8)
    picture[::8] += 12
    grid = np.float32([[1, 0, 60 + shift], [0, 1, 20]])
    face = trial_photo(which, size)
    drawn = cv2.warpAffine(face, grid, (320, 200), flags=cv2.INTER_CUBIC)
    inside = cv2.warpAffine(np.ones((size, size), np.float32), grid, (320, 200)) > 0.99
    return np.where(inside[..., None], drawn, picture).astype(np.uint8)


def face(shift=0.0, size=160.0):
    return face_at(60 + shift, 20, size=size)


def frame(number, pixels):
    return Frame(number, DecodedImage(pixels), number / RATE, lasts_s=1 / RATE)


class Seen:
    """A detector that finds other faces in each frame."""

    name = "seen"

    def __init__(self, *frames):
        self.frames = [*frames]

    def detect(self, image):
        return self.frames.pop(0)


def line(*found, restorer=None, **config):
    made = pipeline(config=RestoreConfig(colour_match=False, force=True, **config), restorer=restorer)
    return replace(made, detector=Seen(*found))


# --- motion -------------------------------------------------------------------------------------------------------


def test_landmarks_at_rest_come_to_rest():
    rng, smooth = np.random.default_rng(0), OneEuro(least_hz=0.5, hz_per_speed=1.5)
    still = np.zeros((5, 2))
    made = [smooth(still + rng.normal(0, 1, (5, 2)), 1 / RATE, unit=40) for _ in range(100)]
    assert np.std(made[20:]) < 0.5


def test_a_known_motion_leaves_no_lag():
    smooth, before = OneEuro(least_hz=0.6, hz_per_speed=6), None
    for number in range(30):
        there = np.full((5, 2), 9.0 * number)
        before = smooth(there, 1 / RATE, carried=None if before is None else before + 9.0, unit=40)
        assert before == pytest.approx(there)


def test_a_motion_that_is_not_known_is_followed_the_quicker_the_faster_it_is():
    lags = []
    for step in (0.5, 20.0):
        smooth = OneEuro(least_hz=0.6, hz_per_speed=6)
        for number in range(40):
            made = smooth(np.full((5, 2), step * number), 1 / RATE, unit=40)
        lags.append((step * 39 - made.mean()) / step)
    assert lags[1] < lags[0] / 3


def test_the_motion_of_a_face_is_found():
    moved = motion_of(face().box, View(scene()), View(scene(shift=5.5)))
    there = moved_face(face(), moved)
    assert there.landmarks == pytest.approx(face(5.5).landmarks, abs=0.5)
    assert there.box == pytest.approx(face(5.5).box, abs=1)


def test_of_nothing_to_follow_no_motion_is_told():
    flat = View(np.full((200, 320, 3), 90, np.uint8))
    assert motion_of(face().box, flat, flat) is None


def test_a_cut_is_told_from_a_pan_and_a_flicker():
    cuts = Cuts()
    pan = [cuts.at(View(scene(shift=3.0 * number))) for number in range(6)]
    assert pan == [True, False, False, False, False, False]
    dark = np.random.default_rng(0).integers(0, 90, (200, 320, 3)).astype(np.uint8)
    assert cuts.at(View(dark))
    assert not cuts.at(View(dark + 2))


# --- tracks -------------------------------------------------------------------------------------------------------


def test_a_face_that_is_missed_is_carried_on_and_let_go():
    tracks = Tracks()
    (first,) = tracks.follow(scene(), [face()], 0.0)
    assert first.share == 1
    for number in range(1, 30):
        found = tracks.follow(scene(shift=2.0 * number), [], number / RATE)
        for track in found:
            track.ease(True)
        if not found:
            break
        assert found == [first]
        assert first.face.landmarks == pytest.approx(face(2.0 * number).landmarks, abs=1.5)
    assert 5 < number < 12  # a third of a second


def test_faces_keep_their_tracks_when_their_order_changes():
    one, other = face_at(40, 20, size=100), face_at(180, 20, size=100)
    picture = np.full((200, 320, 3), 80, np.uint8)
    picture[20:120, 40:140], picture[20:120, 180:280] = trial_photo(0, 100), trial_photo(1, 100)
    tracks = Tracks()
    a, b = tracks.follow(picture, [one, other], 0.0)
    assert tracks.follow(picture, [other, one], 0.04) == [a, b]
    assert a.face.landmarks == pytest.approx(one.landmarks, abs=0.5)


def test_another_face_in_the_place_of_one_is_another_track():
    tracks = Tracks()
    (a,) = tracks.follow(scene(0), [face()], 0.0)
    blurred = np.random.default_rng(0).permutation(scene(0).reshape(-1, 3)).reshape(200, 320, 3)
    (b,) = tracks.follow(blurred, [face_at(150, 20, size=160)], 0.04)[-1:]
    assert b is not a


def test_a_network_takes_over_only_when_it_has_suited_the_face_for_long():
    careful, detailed = (Choice(name, "lite", 256, "light", "why") for name in ("careful", "detailed"))
    track = Track(face(), 1.0, np.zeros(1), lapse_s=0.1)
    track.settle(careful)
    for _ in range(3):
        track.settle(detailed)
        track.settle(careful)
    assert track.choice is careful
    for _ in range(round(HOLD_S / 0.1) + 1):
        track.settle(detailed)
    assert track.choice is detailed


# --- the line -----------------------------------------------------------------------------------------------------


def brightness(result):
    return result.image.pixels[60:120, 110:170].mean()


def test_a_face_that_the_detector_finds_now_and_then_does_not_blink():
    found = [[face()] if number % 3 else [] for number in range(1, 13)]
    made = ClipLine(line(*found))
    lit = [brightness(made.run(frame(number, scene()))) for number in range(12)]
    plain = scene()[60:120, 110:170].mean()
    assert min(lit) > plain + 0.6 * (max(lit) - plain)


def test_a_face_that_comes_within_a_scene_is_eased_in_and_at_a_cut_it_is_there_at_once():
    made = ClipLine(line([], *([[face()]] * 14)))
    lit = [brightness(made.run(frame(number, scene()))) for number in range(11)]
    assert all(np.diff(lit)[:8] > 0.5)
    assert lit[10] - lit[9] == pytest.approx(0, abs=0.6)
    cut = brightness(made.run(frame(11, scene(which=2) // 3 + 150)))
    assert cut > scene(which=2)[60:120, 110:170].mean() // 3 + 150 + 10


class Judging:
    """The stage that judges, whose decisions change from frame to frame."""

    def __init__(self, keeps):
        self.keeps, self.calls = keeps, 0

    def __call__(self, parts, photo):
        self.calls += 1
        photo = stages.judge(parts, photo)
        kept = Decision(Outcome.KEPT, "sharp", "already sharp")
        faces = [replace(each, decision=kept) if self.keeps(self.calls) else each for each in photo.faces]
        return replace(photo, faces=faces)


def judged(keeps, frames=16):
    made = line(*([[face()]] * frames))
    return replace(made, procedure=replace(made.procedure, judge=Judging(keeps)))


def test_a_face_at_the_limit_of_sharpness_is_restored_in_all_frames_or_in_none():
    mostly, seldom = (ClipLine(judged(keeps)) for keeps in (lambda n: n % 4 == 0, lambda n: n % 4 != 2))
    lit = [brightness(mostly.run(frame(number, scene()))) for number in range(16)]
    assert np.ptp(lit) < 0.6
    faces = [seldom.run(frame(number, scene())).faces[0] for number in range(16)]
    assert {each.decision.code for each in faces} == {"sharp", "gone"}
    assert all(each.restored is None for each in faces)


def test_a_face_that_is_kept_from_the_beginning_is_told_as_the_judge_has_it():
    (found,) = ClipLine(judged(lambda n: True)).run(frame(0, scene())).faces
    assert (found.decision.code, found.restored) == ("sharp", None)


class Doubting:
    """A guard that refuses each third face, or those of some frames."""

    def __init__(self, refuses):
        self.refuses, self.calls = refuses, 0

    def judge(self, faces, qualities):
        self.calls += 1
        return [replace(each, restored=None) if self.refuses(self.calls) else each for each in faces]


def test_a_face_that_the_guard_refuses_now_and_then_does_not_blink():
    found = [[face()]] * 12
    made = ClipLine(replace(line(*found), guard=Doubting(lambda call: call % 4 == 0)))
    lit = [brightness(made.run(frame(number, scene()))) for number in range(12)]
    plain = scene()[60:120, 110:170].mean()
    assert min(lit) > plain + 0.6 * (max(lit) - plain)


def test_a_face_that_the_guard_always_refuses_is_never_shown():
    found = [[face()]] * 4
    made = ClipLine(replace(line(*found), guard=Doubting(lambda call: True)))
    assert all(np.array_equal(made.run(frame(n, scene())).image.pixels, scene()) for n in range(4))


class Wavering(Brightener):
    """Restores brighter and darker in turn, as a network does that sees noise."""

    def restore(self, faces, parsing_maps=None):
        lift = 0.1 * (-1) ** len(self.calls)
        return [np.clip(each + lift, 0, 1) for each in super().restore(faces, parsing_maps)]


def test_what_wavers_is_steadied():
    pixels, found = scene(), [[face()]] * 12
    one, other = line(*found, restorer=Wavering()), ClipLine(line(*found, restorer=Wavering()))
    apart = [brightness(one.run(DecodedImage(pixels))) for _ in range(12)]
    steady = [brightness(other.run(frame(number, pixels))) for number in range(12)]
    assert np.abs(np.diff(steady[4:])).mean() < 0.3 * np.abs(np.diff(apart[4:])).mean()


class Wobbling:
    """A parser that sees more of the face and less of it in turn."""

    name, calls = "wobbling", 0

    def parse(self, faces):
        import cv2

        self.calls += 1
        size = faces[0].lq.shape[0]
        widened = cv2.dilate(
            (trial_map(size) == 1).astype(np.uint8), np.ones((5, 5)), iterations=self.calls % 2 + 1
        )
        return [widened]  # 1 is skin


def test_masks_that_a_parser_gives_are_smoothed_in_time():
    found = [[face()]] * 12
    one, other = (replace(line(*found), parser=Wobbling()) for _ in range(2))
    clip = ClipLine(other)
    apart = [one.run(DecodedImage(scene())).image.pixels.astype(int) for _ in range(12)]
    steady = [clip.run(frame(number, scene())).image.pixels.astype(int) for number in range(12)]
    before, after = (np.abs(np.diff(each[4:], axis=0)).mean() for each in (apart, steady))
    assert after < 0.7 * before


def test_aligned_frames_are_steadied_where_they_are():
    pixels = trial_photo(0, 96)
    made = ClipLine(line(restorer=Wavering(), aligned=True))
    found = [made.run(frame(number, pixels)) for number in range(8)]
    lit = [each.image.pixels.mean() for each in found]
    assert {each.faces[0].decision.outcome for each in found} == {Outcome.RESTORED}
    assert abs(lit[7] - lit[6]) < 0.5 * abs(lit[1] - lit[0]) + 3


def test_a_segment_is_the_same_whoever_made_those_before():
    frames = [frame(number, scene(shift=1.5 * number)) for number in range(16)]
    found = [[face(1.5 * number)] for number in range(16)]

    def made(begin):
        return {
            each.index: result.image.pixels
            for each, result in restored_frames(
                line(*found[max(0, begin - 8) :]), frames, begin=begin, every=12
            )
        }

    whole, late = made(0), made(12)
    assert sorted(late) == [12, 13, 14, 15]
    assert all(np.array_equal(whole[number], late[number]) for number in late)


# --- steadying ----------------------------------------------------------------------------------------------------


def noisy(level=0.06, count=12):
    """Return frames of one restored face, each with detail of its own, as float32 in [0, 1]."""
    import cv2

    rng, clean = np.random.default_rng(0), trial_photo(0, 256).astype(np.float32) / 255
    noise = [
        cv2.GaussianBlur(rng.normal(0, 1, clean.shape).astype(np.float32), (0, 0), 2) for _ in range(count)
    ]
    return clean, [np.clip(clean + level * each / each.std(), 0, 1).astype(np.float32) for each in noise]


def test_detail_that_comes_and_goes_is_averaged_and_what_stays_is_kept():
    clean, restored = noisy(0.03)
    steady = Steadier()
    made = [steady(each, clean, 1 / RATE if number else 0.0) for number, each in enumerate(restored)]
    inner = np.s_[60:200, 60:200]
    before, after = (
        np.abs(np.diff(frames[6:], axis=0))[:, 60:200, 60:200].mean() for frames in (restored, made)
    )
    assert after < 0.4 * before
    assert np.abs(made[-1] - clean)[inner].mean() < 0.6 * np.abs(restored[-1] - clean)[inner].mean()


def test_an_eye_that_closes_is_closed_at_once():
    _, (opened, *_) = noisy(0.0)
    closed = opened.copy()
    closed[105:135, 75:120] = opened[160:190, 60:105]  # skin
    steady = Steadier()
    for number in range(6):
        steady(opened, opened, 1 / RATE if number else 0.0)
    made = steady(closed, closed, 1 / RATE)
    eye = np.s_[110:130, 82:112]
    assert np.abs(made - closed)[eye].mean() < 0.2 * np.abs(opened - closed)[eye].mean()


def test_light_is_followed_at_once():
    _, (bright, *_) = noisy(0.0)
    dark = (0.6 * bright).astype(np.float32)
    steady = Steadier()
    for number in range(6):
        steady(bright, bright, 1 / RATE if number else 0.0)
    made = steady(dark, dark, 1 / RATE)
    assert abs(made.mean() - dark.mean()) < 0.05 * (bright.mean() - dark.mean())


def test_a_face_of_another_size_begins_anew():
    steady = Steadier()
    for size in (FACE_SIZE, 2 * FACE_SIZE):
        pixels = trial_photo(0, size).astype(np.float32) / 255
        assert steady(pixels, pixels, 0.04) == pytest.approx(pixels, abs=1e-5)
