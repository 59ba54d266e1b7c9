"""scikit-learn's descriptions: prose without markup, from what is installed."""

import re

import pytest

from genbench.data import descriptions
from genbench.data.descriptions import clean
from genbench.errors import UserError

RST = """.. _a_target:

A heading
---------

**Bold** and *italic* and ``code`` of :func:`~sklearn.datasets.load` and
:ref:`a title <target>`, see `a page <https://x.y>`__ or [1]_.

:Creator: Somebody
:Class Distribution: 3 - A, 4 - B

===== =====
 Min   Max
===== =====
4.3   7.9
===== =====

.. dropdown:: Usage

  As follows::

    >>> load()
    array([1])

  It is 2 * 3 = 6.

.. rubric:: References

.. [1] A. Author,
       A Book.
"""


def test_cleaning_keeps_words_alone():
    assert clean(RST) == (
        "A heading\n\nBold and italic and code of sklearn.datasets.load and\n"
        "a title, see a page or.\n\nCreator: Somebody\nClass Distribution: 3 - A, 4 - B\n\n"
        "Usage\n\nAs follows:\n\nIt is 2 * 3 = 6.\n\nReferences\n\nA. Author,\nA Book.\n"
    )


def test_what_is_installed_is_prose():
    files = descriptions.read()
    assert {*descriptions.VALIDATION, *descriptions.TEST} < set(files)
    text = "".join(files.values())
    assert 15_000 < len(text) < 60_000
    assert not re.search(r"``|>>>|:func:|\.\. |====|\n\n\n|[ \t]\n", text)
    letters = sum(c.isalpha() or c == " " for c in text)
    assert letters / len(text) > 0.85
    assert "The famous Iris database, first used by Sir R.A. Fisher." in files["iris"]


def test_a_package_without_them_is_refused(monkeypatch):
    monkeypatch.setattr(descriptions, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="scikit-learn is not installed"):
        descriptions.read()


def test_a_version_without_one_of_the_held_out_is_refused(monkeypatch):
    monkeypatch.setattr(descriptions, "TEST", ("iris", "atlantis"))
    with pytest.raises(UserError, match="lacks atlantis"):
        descriptions.read()
