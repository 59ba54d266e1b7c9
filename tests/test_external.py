"""Others' samples are read in one way or refused in one line."""

from __future__ import annotations

import io
import os
import tracemalloc
import warnings
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from genbench.data import info
from genbench.errors import UserError
from genbench.external import load_samples, to_channels

DIGITS, MNIST = info("digits"), info("mnist")
COLOUR = replace(MNIST, name="colour", shape=(3, 28, 28))
KINDS = {"digits": DIGITS, "mnist": MNIST, "colour": COLOUR}

fuzz = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def draw(of=MNIST, n=4, seed=0, channels=None):
    """Images uint8 (n, C, H, W) in 0..levels-1."""
    c, *size = of.shape
    shape = (n, channels or c, *size)
    return np.random.default_rng(seed).integers(0, of.levels, shape, np.uint8)


def npy(folder: Path, x: np.ndarray) -> Path:
    path = folder / "samples.npy"
    np.save(path, x)
    return path


def npz(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "samples.npz"
    np.savez_compressed(path, **arrays)
    return path


def pngs(folder: Path, *images: Image.Image) -> Path:
    folder = folder / "pngs"
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        image.save(folder / f"{index:03d}.png")
    return folder


def grey(n=4, seed=0):
    return [Image.fromarray(x) for x in draw(n=n, seed=seed)[:, 0]]


def refusal(path: Path, of=MNIST, n=10_000) -> str:
    """The one line with which samples are refused."""
    with pytest.raises(UserError) as error:
        load_samples(path, of, n)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


# Arrays


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *((name, layout) for name in KINDS for layout in ("first", "last")),
        *((name, "none") for name in ("digits", "mnist")),  # colour needs its axis
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_every_layout_gives_the_same_samples(tmp_path, name, layout, form):
    of = KINDS[name]
    x = draw(of, n=5)
    if layout == "none":
        laid = x[:, 0]
    else:
        laid = x if layout == "first" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    path = npy(tmp_path, laid) if form == "npy" else npz(tmp_path, whatever=laid)
    found = load_samples(path, of, 5)
    np.testing.assert_array_equal(found.images, x)
    assert found.images.dtype == np.uint8
    assert found.images.flags.c_contiguous
    assert found.images.flags.writeable
    assert found.labels is None
    assert found.notes == []


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_floats_of_grey_levels_come_back_as_those_levels(tmp_path, name, dtype):
    of = KINDS[name]
    top = of.levels - 1
    x = np.resize(np.arange(of.levels, dtype=np.uint8), (30, *of.shape))
    found = load_samples(npy(tmp_path, (x / top).astype(dtype)), of, 30)
    np.testing.assert_array_equal(found.images, x)
    assert f"floats in 0..1 were multiplied by {top} and rounded" in found.notes


def test_floats_are_rounded_to_the_nearest_level_halves_to_even(tmp_path):
    x = np.zeros((2, 8, 8))
    x[0, 0, :4] = np.array([0.49, 0.5, 1.5, 15.51]) / 16
    found = load_samples(npy(tmp_path, x), DIGITS).images
    assert found[0, 0, 0, :4].tolist() == [0, 0, 2, 16]


def test_the_first_n_of_more_are_scored_and_fewer_are_noted(tmp_path):
    x = draw(n=6)
    for path in (npy(tmp_path, x), npz(tmp_path, a=x)):
        found = load_samples(path, MNIST, 4)
        np.testing.assert_array_equal(found.images, x[:4])
        assert found.notes == ["the first 4 of 6 samples are scored"]
        (note,) = load_samples(path, MNIST, 7).notes
        assert note.startswith("6 samples, and the protocol has 7")


def test_labels_come_with_their_samples(tmp_path):
    x, y = draw(n=6), np.array([3, 1, 4, 1, 5, 9], np.int32)
    found = load_samples(npz(tmp_path, samples=x, labels=y), MNIST, 4)
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [3, 1, 4, 1]
    assert found.sha256 != load_samples(npz(tmp_path, samples=x), MNIST, 4).sha256


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(5), "5 labels for 4 samples"),
        (np.array([0, 1, 2, 10]), r"1 of 4 are not in 0\.\.9"),
        (np.array([0, -1, 2, -3]), r"2 of 4 are not in 0\.\.9"),
        (np.zeros(4), r"is float64 \(4,\); expected integers of shape \(N,\)"),
        (np.zeros((4, 1), int), r"is int64 \(4, 1\)"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, labels, message):
    with pytest.raises(UserError, match=message):
        load_samples(npz(tmp_path, samples=draw(), labels=labels), MNIST)


def test_of_several_arrays_one_must_be_called_samples(tmp_path):
    x = draw()
    said = refusal(npz(tmp_path, one=x, two=x))
    assert "holds 2 arrays ('one', 'two')" in said
    assert "none is called 'samples'" in said
    assert "holds 0 arrays" in refusal(npz(tmp_path, labels=np.arange(4)))
    found = load_samples(npz(tmp_path, one=draw(seed=1), samples=x), MNIST, 4)
    np.testing.assert_array_equal(found.images, x)
    assert found.notes == ["passed over: arrays 'one'"]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 28, 27), np.uint8), r"shape \(4, 28, 27\) is not one of images; mnist needs"),
        (np.zeros((4, 784), np.uint8), r"shape \(4, 784\) is not one of images"),
        (np.zeros((28, 28), np.uint8), r"shape \(28, 28\) is not one"),
        (np.uint8(0), r"shape \(\) is not one"),
        (np.zeros((4, 28, 28, 4), np.uint8), "with C 1 or 3"),
        (np.zeros((4, 32, 32), np.uint8), r"\(4, 32, 32\).* \(N, 28, 28\)"),
        (np.zeros((3, 28, 28), np.uint8), "three grey images or one in colour"),
        (np.zeros((1, 28, 28), np.uint8), "holds 1 samples; at least 2 are needed"),
        (np.zeros((0, 28, 28), np.uint8), "holds 0 samples"),
        (np.zeros((4, 28, 28), np.int64), r"holds int64; save uint8 in 0\.\.255"),
        (np.zeros((4, 28, 28), bool), "holds bool"),
        (np.zeros((4, 28, 28), complex), "holds complex128"),
        (np.full((4, 28, 28), "a"), "holds <U1"),
        (np.zeros((4, 28, 28), [("a", np.uint8)]), "holds"),
        (np.full((4, 28, 28), None), "Python objects, which are never unpickled"),
        (np.asfortranarray(np.zeros((4, 28, 28), np.uint8)), "Fortran order"),
        (np.full((4, 28, 28), np.nan), "3136 of 3136 values are NaN or infinite"),
        (np.where(np.eye(28) > 0, np.inf, 0)[None].repeat(4, 0), "112 of 3136 values are NaN"),
        (np.linspace(-1, 1, 3136).reshape(4, 28, 28), r"1568 of 3136 .* run from -1 to 1"),
        (np.full((4, 28, 28), 255.0), r"lie outside 0\.\.1 \(they run from 255 to 255\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_arrays_that_are_not_samples_are_refused(tmp_path, x, message, form):
    path = npy(tmp_path, x) if form == "npy" else npz(tmp_path, x=x)
    with pytest.raises(UserError, match=message) as error:
        load_samples(path, MNIST)
    assert "\n" not in str(error.value)


def test_levels_are_those_of_the_data_set(tmp_path):
    x = np.full((4, 8, 8), 16, np.uint8)
    x[0, 0, :3] = 17
    assert "3 of 256 values lie outside 0..16 (they run from 16 to 17)" in refusal(
        npy(tmp_path, x), DIGITS
    )


def test_a_shape_with_two_readings_is_refused(tmp_path):
    tiny = replace(MNIST, shape=(3, 3, 3))
    assert "channels first or last" in refusal(npy(tmp_path, np.zeros((5, 3, 3, 3), "u1")), tiny)


def declared(shape, dtype="|u1", order=False) -> bytes:
    """The header alone of an .npy."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": order, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def test_a_header_is_judged_before_what_follows_is_read(tmp_path):
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        file.write(declared((10**7, 28, 29)))
        file.truncate(file.tell() + 10**7 * 28 * 29)  # a sparse file: 8 GB that take no room
    assert "(10000000, 28, 29) is not one of images" in refusal(path)


def test_of_a_huge_array_only_the_samples_scored_are_read(tmp_path):
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        file.write(declared((10**9, 28, 28)))
        file.truncate(file.tell() + 10**9 * 784)
    found = load_samples(path, MNIST, 3)
    assert found.images.shape == (3, 1, 28, 28)
    assert "the first 3 of 1000000000 samples are scored" in found.notes


@pytest.mark.parametrize("shape", [(10**18, 28, 28), (10**30, 28, 28), (3 * 10**8, 28, 28)])
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_a_header_that_declares_more_than_there_is_is_refused(tmp_path, shape, form):
    path = tmp_path / f"bomb.{form}"
    if form == "npy":
        path.write_bytes(declared(shape) + bytes(784))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", declared(shape) + bytes(784))
    assert "bytes and 784 follow" in refusal(path)


def test_a_zip_bomb_is_refused_without_being_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(declared((100, 1000, 1000)))
        for _ in range(100):
            member.write(bytes(10**6))
    assert path.stat().st_size < 10**6
    assert "is not one of images" in refusal(path)


def test_a_later_version_of_the_format_is_refused(tmp_path):
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, draw(), version=(2, 0))
    assert "has version (2, 0) of the .npy format" in refusal(path)


class Trap:
    def __reduce__(self):
        return os._exit, (13,)


def test_nothing_is_unpickled(tmp_path):
    trap = np.array([Trap(), Trap()], object)
    many = np.empty((4, 28, 28), object)
    many[:] = Trap()
    assert "never unpickled" in refusal(npy(tmp_path, many))
    path = tmp_path / "pickle.npy"
    trap.dump(path)
    assert "cannot be read" in refusal(path)
    assert "shape" in refusal(npz(tmp_path, samples=draw()[:, :, :3], labels=trap))
    assert "never unpickled" in refusal(npz(tmp_path, samples=draw(), labels=trap))


# A folder of PNGs


def test_pngs_are_read_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "pngs"
    folder.mkdir()
    x = draw(n=3)
    for name, image in zip(("b.png", "a.PNG", "c.png"), x[:, 0], strict=True):
        Image.fromarray(image).save(folder / name, format="PNG")
    found = load_samples(folder, MNIST, 3)
    np.testing.assert_array_equal(found.images, x[[1, 0, 2]])
    assert found.notes == []
    first = load_samples(folder, MNIST, 2)
    np.testing.assert_array_equal(first.images, x[[1, 0]])
    assert first.notes == ["the first 2 of 3 PNGs, in the order of their names, are scored"]


def test_the_same_samples_have_the_same_hash_in_every_form(tmp_path):
    x = draw()
    hashes = {
        load_samples(path, MNIST).sha256
        for path in (
            npy(tmp_path, x),
            npz(tmp_path, samples=x[:, 0]),
            pngs(tmp_path, *map(Image.fromarray, x[:, 0])),
        )
    }
    assert len(hashes) == 1
    assert load_samples(npy(tmp_path, x[::-1].copy()), MNIST).sha256 not in hashes


def test_pngs_are_scaled_to_the_data_sets_levels(tmp_path):
    x = draw(DIGITS)
    shown = np.rint(x * (255 / 16)).astype(np.uint8)
    found = load_samples(pngs(tmp_path, *map(Image.fromarray, shown[:, 0])), DIGITS, 4)
    np.testing.assert_array_equal(found.images, x)
    assert found.notes == ["PNGs were scaled from 0..255 to 0..16"]


def test_other_files_are_passed_over_with_a_note(tmp_path):
    folder = pngs(tmp_path, *grey())
    (folder / "README.txt").write_text("hello")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "._000.png").write_bytes(b"not a picture")
    (folder / "deeper").mkdir()
    found = load_samples(folder, MNIST, 4)
    assert len(found.images) == 4
    assert found.notes == ["passed over: 3 other files, 1 subfolders"]


def test_pictures_of_other_formats_are_refused_since_a_part_would_pass_for_the_whole(tmp_path):
    folder = pngs(tmp_path, *grey())
    grey(1)[0].save(folder / "004.jpg")
    assert "1 pictures are not PNGs, the first is '004.jpg'" in refusal(folder)


def test_a_folder_without_pngs_says_what_it_holds(tmp_path):
    assert "holds 0 PNGs; at least 2 are needed" in refusal(tmp_path)
    for name in "01":
        (tmp_path / name).mkdir()
    assert "holds 0 PNGs (2 subfolders are not looked into)" in refusal(tmp_path)
    assert "holds 1 PNGs" in refusal(pngs(tmp_path, *grey(1)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_every_mode_that_is_defined_agrees_with_pil(tmp_path, mode, channels):
    of = MNIST if channels == 1 else COLOUR
    images = [Image.fromarray(x.transpose(1, 2, 0)).convert(mode) for x in draw(COLOUR, channels=3)]
    expected = [np.asarray(image.convert("RGB")) for image in images]
    if channels == 1:
        expected = [np.asarray(Image.fromarray(x).convert("L"))[..., None] for x in expected]
    found = load_samples(pngs(tmp_path, *images), of, 4)
    np.testing.assert_array_equal(found.images, np.stack(expected).transpose(0, 3, 1, 2))
    notes = set()
    if mode in ("RGBA", "LA"):
        notes.add("opaque alpha was left out in 4 of 4 samples")
    if channels == 1 and mode in ("RGB", "RGBA", "P", "LA"):
        notes.add("colour became grey by BT.601 luma in 4 of 4 samples")
    if channels == 3 and mode in ("L", "1"):
        notes.add("grey was repeated as colour in 4 of 4 samples")
    assert set(found.notes) == notes


def bad_pngs() -> dict[str, tuple[bytes, str]]:
    """Content of a file, and what is said of it."""

    def saved(image: Image.Image, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, format="PNG", **options)
        return file.getvalue()

    whole = saved(grey(1)[0])
    deep = bytearray(saved(Image.new("RGB", (28, 28))))
    deep[24] = 16  # as the header of 16-bit colour, which PIL cannot write
    deep[29:33] = zlib.crc32(deep[12:29]).to_bytes(4, "big")
    bomb = bytearray(whole)
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    frames = grey(2)
    return {
        "empty": (b"", "cannot identify"),
        "text": (b"hello, this is not a picture", "cannot identify"),
        "jpeg": (b"\xff\xd8\xff\xe0" + whole, "cannot identify"),
        "cut": (whole[: len(whole) // 2], "Truncated"),
        "size": (
            saved(Image.new("L", (32, 27))),
            "27 x 32 pixels (height x width), expected 28 x 28",
        ),
        "grey 16": (saved(Image.fromarray(np.zeros((28, 28), np.uint16))), "16 bits a channel"),
        "colour 16": (bytes(deep), "16 bits a channel"),
        "transparent": (saved(Image.new("RGBA", (28, 28), (9, 9, 9, 254))), "transparent pixels"),
        "transparent palette": (
            saved(Image.new("P", (28, 28)), transparency=0), "transparent pixels",
        ),
        "animation": (saved(frames[0], save_all=True, append_images=frames[1:]), "an animation"),
        "bomb": (bytes(bomb), "decompression bomb"),
    }  # fmt: skip


BAD = bad_pngs()


@pytest.mark.parametrize("name", BAD)
def test_pngs_that_are_not_samples_are_named_and_counted(tmp_path, name):
    content, message = BAD[name]
    folder = pngs(tmp_path, *grey())
    for index in (1, 3):
        (folder / f"00{index}.png").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = refusal(folder)
    assert "2 of 4 PNGs cannot be used" in said
    assert "the first is '001.png'" in said
    assert message in said


def test_links_to_nothing_loops_and_pipes_are_bad_pngs(tmp_path):
    folder = pngs(tmp_path, *grey())
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "nothing.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.png")
    said = refusal(folder)
    assert "3 of 7 PNGs cannot be used" in said
    assert "'loop.png': not a file, or a link to none" in said


def test_file_names_cannot_break_the_line(tmp_path):
    folder = pngs(tmp_path, *grey())
    (folder / "0\n0.png").write_bytes(b"")
    assert r"'0\n0.png'" in refusal(folder)


# Paths


def test_paths_that_lead_nowhere(tmp_path):
    assert "No such file or directory" in refusal(tmp_path / "nowhere")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "Too many levels of symbolic links" in refusal(loop)
    assert "File name too long" in refusal(tmp_path / ("x" * 300))
    with pytest.raises(UserError, match="null"):
        load_samples(Path("a\0b"), MNIST)
    os.mkfifo(tmp_path / "pipe.npy")
    assert "is neither a file nor a folder" in refusal(tmp_path / "pipe.npy")


@pytest.mark.parametrize("method", ["stat", "iterdir", "open"])
def test_what_may_not_be_read_is_refused(tmp_path, monkeypatch, method):
    path = pngs(tmp_path, *grey()) if method == "iterdir" else npy(tmp_path, draw())

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, denied)
        assert "Permission denied" in refusal(path)


def test_text_and_images_do_not_go_together(tmp_path):
    for name in ("x.txt", "x.jsonl"):
        (tmp_path / name).write_text("once upon a time")
        assert "text goes with a data set of text, and mnist holds images" in refusal(
            tmp_path / name
        )
    (tmp_path / "x.png").write_bytes(b"")
    said = refusal(tmp_path / "x.png")
    assert "'.png' is not a form of samples; expected a folder of PNGs, an .npy or an .npz" in said


# Notes


def test_constant_and_repeated_samples_are_counted(tmp_path):
    x = draw(n=6)
    x[1], x[2], x[3], x[5] = 0, 7, 7, x[0]
    notes = load_samples(npy(tmp_path, x), MNIST, 6).notes
    assert notes == [
        "3 of 6 samples are of one colour throughout",
        "2 of 6 samples repeat an earlier one exactly",
    ]


def test_a_scale_that_was_lost_is_noted(tmp_path):
    (note,) = load_samples(npy(tmp_path, draw() % 2), MNIST, 4).notes
    assert note == "no value is above 1 of 255: if they were meant as 0..1, save floats"


# Colour


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_luma_is_pils(seed):
    x = np.random.default_rng(seed).integers(0, 256, (3, 3, 5, 4), np.uint8)
    expected = [np.asarray(Image.fromarray(y.transpose(1, 2, 0)).convert("L")) for y in x]
    np.testing.assert_array_equal(to_channels(x, 1)[:, 0], expected)


@pytest.mark.parametrize("levels", [17, 256])
def test_grey_survives_the_way_to_colour_and_back(levels):
    x = np.arange(levels, dtype=np.uint8).reshape(-1, 1, 1, 1)
    assert to_channels(x, 3).shape == (levels, 3, 1, 1)
    np.testing.assert_array_equal(to_channels(to_channels(x, 3), 1), x)


def test_luma_is_near_the_weights_of_bt_601():
    x = np.random.default_rng(0).integers(0, 256, (100, 3, 2, 2), np.uint8)
    expected = np.tensordot([0.299, 0.587, 0.114], x, (0, 1))
    assert np.abs(to_channels(x, 1)[:, 0] - expected).max() < 0.51


# Damage


def whole(form: str) -> bytes:
    file = io.BytesIO()
    if form == "npy":
        np.save(file, draw())
    elif form == "npz":
        np.savez_compressed(file, samples=draw(), labels=np.arange(4))
    else:
        grey(1)[0].save(file, format="PNG")
    return file.getvalue()


WHOLE = {form: whole(form) for form in ("npy", "npz", "png")}


def written(folder: Path, form: str, content: bytes) -> Path:
    if form == "png":
        folder = pngs(folder, *grey(2))
        (folder / "000.png").write_bytes(content)
        return folder
    path = folder / f"damaged.{form}"
    path.write_bytes(content)
    return path


def read_or_refused(path: Path) -> bool:
    """Whether it was read; anything but samples and UserError fails the test."""
    try:
        found = load_samples(path, MNIST)
    except UserError:
        return False
    assert found.images.shape[1:] == MNIST.shape
    return True


@pytest.mark.parametrize("form", WHOLE)
@fuzz
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=1 - 1e-9)
def test_a_file_cut_anywhere_is_refused(tmp_path, form, share):
    content = WHOLE[form]
    cut = int(share * len(content))
    if form == "png":  # PIL does without the checksum of the chunk that ends it, which is empty
        cut = min(cut, len(content) - 5)
    assert not read_or_refused(written(tmp_path, form, content[:cut]))


@pytest.mark.parametrize("form", WHOLE)
@fuzz
@given(content=st.binary(max_size=300))
@example(content=b"")
def test_random_bytes_are_refused(tmp_path, form, content):
    assert not read_or_refused(written(tmp_path, form, content))
    magic = {"npy": b"\x93NUMPY\x01\x00", "npz": b"PK\x03\x04", "png": b"\x89PNG\r\n\x1a\n"}
    assert not read_or_refused(written(tmp_path, form, magic[form] + content))


@pytest.mark.parametrize("form", WHOLE)
@fuzz
@given(data=st.data())
def test_a_file_with_other_bytes_is_read_or_refused(tmp_path, form, data):
    content = bytearray(WHOLE[form])
    # Half of the time in the header, where it matters most.
    end = data.draw(st.sampled_from([min(128, len(content)), len(content)]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(written(tmp_path, form, bytes(content)))


DTYPES = ["'|u1'", "'|O'", "'<f4'", "'<M8[s]'", "[('a', '|u1')]", "1", "()", "'V0'"]
SHAPES = [
    "(4, 28, 28)", "(-4, 28, 28)", "(4, True, 28)", "4", "(2**99,)", "()", "(0, 28, 28)",
    "(4L, 28L, 28L)", "((((", "[4, 28, 28]", "(1e9, 28, 28)",
]  # fmt: skip
headers = st.builds(
    "{{'descr': {}, 'fortran_order': {}, 'shape': {}}}".format,
    st.sampled_from(DTYPES),
    st.sampled_from(["True", "False", "None", "1"]),
    st.sampled_from(SHAPES),
)


@fuzz
@given(header=st.text(max_size=60) | headers)
def test_a_header_of_any_text_is_read_or_refused(tmp_path, header):
    text = header.encode("latin1", "replace") + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(4 * 784)
    read_or_refused(written(tmp_path, "npy", content))


def test_an_encrypted_or_oddly_compressed_archive_is_refused(tmp_path):
    for offset, value in ((6, 1), (8, 99)):
        content = bytearray(WHOLE["npz"])
        central = content.index(b"PK\x01\x02")
        content[offset] = content[central + offset + 2] = value
        path = written(tmp_path, "npz", bytes(content))
        assert "cannot be read" in refusal(path)


def test_memory_stays_small_for_ten_thousand_samples(tmp_path):
    path = npy(tmp_path, draw(n=10_000))
    tracemalloc.start()
    load_samples(path, MNIST)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
