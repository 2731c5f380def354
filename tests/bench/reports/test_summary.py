"""The table over seeds, on known answers."""

from __future__ import annotations

import pandas
import pytest

from bench.interfaces import RequestError
from bench.reports.summary import summarise

ROWS = pandas.DataFrame(
    [
        {
            "victim": "v",
            "protocol": "p",
            "defense": defense,
            "threat_model": "server",
            "withheld_from_view": "",
            "attack": "a",
            "target": "image",
            "status": status,
            "seed": seed,
            "capture_id": f"{defense}{seed}",
            "ssim": value,
            "utility_fid": 10.0 * (seed + 1),
        }
        for defense, seed, status, value in [
            ("none", 0, "ok", 0.25),
            ("none", 1, "ok", 0.75),
            ("prompt", 0, "ok", 0.5),
            ("prompt", 1, "failed", 99.0),
        ]
    ]
)


def test_means_and_ranges_over_seeds_without_failed_rows():
    table = summarise(ROWS, ("ssim",)).splitlines()
    assert (
        table[0] == "| victim | protocol | defense | threat_model | withheld_from_view "
        "| a image ssim | seeds |"
    )
    assert table[2] == "| v | p | none | server |  | 0.500 [0.250, 0.750] | 2 |"
    assert table[3] == "| v | p | prompt | server |  | 0.500 [0.500, 0.500] | 1 |"


def test_attackers_who_see_different_things_are_not_averaged():
    other = ROWS.assign(threat_model="features_only", ssim=0.0)
    table = summarise(
        pandas.concat([ROWS, other]), ("ssim",), where={"defense": "none"}
    ).splitlines()
    assert table[2:] == [
        "| v | p | server |  | 0.500 [0.250, 0.750] | 2 |",
        "| v | p | features_only |  | 0.000 [0.000, 0.000] | 2 |",
    ]


def test_rows_of_other_lengths_of_training_and_counts_of_targets_have_lines_of_their_own():
    rows = pandas.concat([ROWS.assign(epochs=5, n=8), ROWS.assign(epochs=20, n=8, ssim=1.0)])
    table = summarise(rows, ("ssim",), where={"defense": "none"}).splitlines()
    assert table[0].startswith(
        "| victim | protocol | threat_model | withheld_from_view | epochs | a image ssim |"
    )
    assert [line.split(" | ")[4:6] for line in table[2:]] == [
        ["5", "0.500 [0.250, 0.750]"],
        ["20", "1.000 [1.000, 1.000]"],
    ]


def test_the_largest_of_a_line_is_marked_target_by_target():
    rows = pandas.concat(
        [
            ROWS,
            ROWS.assign(attack="b", ssim=0.6),
            ROWS.assign(attack="b", target="condition", ssim=0.1),
        ]
    )
    head, _, line = summarise(rows, ("ssim",), where={"defense": "none"}, mark=True).splitlines()
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["b image ssim"] == "**0.600 [0.600, 0.600]**"
    assert cells["a image ssim"] == "0.500 [0.250, 0.750]"
    assert cells["b condition ssim"] == "**0.100 [0.100, 0.100]**"


def test_where_filters_and_hides_its_column():
    table = summarise(
        ROWS, ("utility_fid",), where={"defense": "none"}, per_attack=False
    ).splitlines()
    assert table[0] == "| victim | protocol | utility_fid | seeds |"
    assert table[2] == "| v | p | 15.000 [10.000, 20.000] | 2 |"
    assert len(table) == 3


@pytest.mark.parametrize(
    ("columns", "where"),
    [(("simm",), {}), (("ssim",), {"defence": "x"}), (("ssim",), {"defense": "x"})],
)
def test_unknown_columns_and_empty_selections_are_refused(columns, where):
    with pytest.raises(RequestError):
        summarise(ROWS, columns, where=where)
