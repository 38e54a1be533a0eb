"""What items compute must fit their layouts: otherwise nothing is written, and the message says what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import small_config

from spikelens.config import load_runs
from spikelens.errors import SpikelensError
from spikelens.outputs import feature_output, method_output, write_output
from spikelens.stores import read_array, read_shard


@pytest.fixture
def run(tmp_path):
    return load_runs(small_config(tmp_path))[0]


def test_arrays_are_converted_to_the_data_type_of_the_layout(run):
    group = method_output(run, "rate_correlation")
    values = np.arange(np.prod(group.arrays["rate_correlation"].shape), dtype=np.int32).reshape(group.arrays["rate_correlation"].shape)
    write_output("rate_correlation", [group], {"rate_correlation": values})
    written = read_array(group, "rate_correlation")
    assert written.dtype == np.float64
    np.testing.assert_array_equal(written, values)


def test_a_job_writes_the_shard_of_its_segment_and_block(run):
    group = feature_output(run, "omega_pairs")
    spec = group.arrays["omega"]
    cells = np.full(spec.shards, 2.0)
    write_output("omega_pairs", [group], {"omega": cells}, segment=1, block=2)
    np.testing.assert_array_equal(read_shard(group, "omega", (1, 0, 2)), cells)


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        ({"correlation": np.zeros((2, 3))}, "computed an array 'correlation' that is not in its layout; expected one of rate_correlation"),
        ({"rate_correlation": np.zeros((2, 3))}, r"computed rate_correlation with shape \(2, 3\); its layout expects \(2, \d+, \d+\), for"),
    ],
)
def test_what_does_not_fit_the_layout_is_refused(run, computed, expected):
    group = method_output(run, "rate_correlation")
    with pytest.raises(SpikelensError, match=expected):
        write_output("rate_correlation", [group], computed)
    assert not group.path.exists()
