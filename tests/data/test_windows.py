"""Windows: hand-made cases, and that nothing is copied before it is asked for."""

import numpy as np
import pytest
import torch

from harness.contracts.dataset import Samples
from harness.contracts.errors import SpecError
from harness.data.batches import Feed, evaluation_batches
from harness.data.windows import Windows

# Two videos of three and two frames; a frame's features are its number and ten times that.
FRAMES = np.array([[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]], dtype=np.float32)
WINDOWS = Windows(
    frames=FRAMES,
    newest=np.array([0, 2, 3, 4]),
    first=np.array([0, 0, 3, 3]),
    last=np.array([2, 2, 4, 4]),
    offsets=np.array([-2, 0, 1]),
)
# Two frames back, the newest, the next; zeros outside the window's own video.
CUT = np.array([[0, 1, 2], [1, 3, 0], [0, 4, 5], [0, 5, 0]], dtype=np.float32)


def test_a_window_is_its_videos_frames_at_the_offsets_and_zeros_elsewhere() -> None:
    assert WINDOWS.shape == (4, 3, 2)
    assert np.array_equal(WINDOWS[:][..., 0], CUT)
    assert np.array_equal(WINDOWS[:][..., 1], 10 * CUT)
    assert np.array_equal(WINDOWS[np.array([3, 1])][..., 0], CUT[[3, 1]])
    assert np.array_equal(WINDOWS.take(np.array([2]))[:][..., 0], CUT[[2]])


def test_taking_windows_copies_no_frame() -> None:
    assert WINDOWS.take(np.array([0, 1])).frames is FRAMES


def test_a_feed_gives_windows_as_they_are_with_their_labels() -> None:
    samples = Samples(inputs=WINDOWS, labels=np.arange(4), groups=np.array([0, 0, 1, 1]))
    feed = Feed(samples, batch_size=4, augmentation=lambda seen, _: seen, seed=0, device="cpu")
    [seen] = feed.epoch(0)
    assert torch.equal(seen.images[..., 0], torch.from_numpy(CUT)[seen.indices])
    assert torch.equal(seen.labels, seen.indices)
    [(values, labels)] = evaluation_batches(samples, 8, "cpu")
    assert torch.equal(values[..., 0], torch.from_numpy(CUT))
    assert labels.tolist() == [0, 1, 2, 3]
    assert samples.take(np.array([1, 2])).groups is not None


def test_token_numbers_stay_whole() -> None:
    samples = Samples(inputs=np.array([[5, 0], [7, 9]], dtype=np.int32), labels=np.array([0, 1]))
    [(tokens, _)] = evaluation_batches(samples, 8, "cpu")
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[5, 0], [7, 9]]


def test_labels_that_end_behind_the_features_are_refused() -> None:
    with pytest.raises(SpecError, match="ends at frame 5 of 5; labels and features"):
        Windows(
            frames=FRAMES,
            newest=np.array([4]),
            first=np.array([3]),
            last=np.array([5]),
            offsets=np.array([0]),
        )
