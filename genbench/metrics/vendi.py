"""The Vendi score: the effective number of different samples, without any reference."""

from __future__ import annotations

import math

import torch

from genbench.metrics.checks import Array, check_rows
from genbench.metrics.measured import Measured, normal


def vendi_score(features: Array) -> Measured:
    """exp of the entropy of the eigenvalues of K / N, with K_ij the cosine of x_i and x_j; from 1
    (all alike) to min(N, D) (all orthogonal), for features (N, D), N >= 2.

    Friedman and Dieng 2023, "The Vendi score", definition 3.1. With u_i = x_i / |x_i|, K / N has
    the same eigenvalues above zero as S = 1/N sum_i u_i u_i^T, which is D x D. Float64.

    The interval is the delta method's: a change dS of S, of trace 0, changes the entropy H by
    -tr(log(S) dS), so sample i has the influence exp(H) (-u_i^T log(S) u_i - H). It is about the
    expected score of N samples, which lies below that of infinitely many. Flagged where N <= D.
    Raises ValueError for NaN, a wrong shape, N < 2, or rows of zeros, which have no direction.
    """
    x = check_rows(features, "features", least=2)
    lengths = torch.linalg.vector_norm(x, dim=1)
    if len(zero := (lengths == 0).nonzero().flatten().tolist()):
        shown = ", ".join(map(str, zero[:5])) + (", ..." if len(zero) > 5 else "")
        raise ValueError(f"features: {len(zero)} of {len(x)} rows are zero: {shown}")
    u = x / lengths[:, None]
    eigenvalues, Q = torch.linalg.eigh(u.T @ u / len(u))
    kept = eigenvalues > eigenvalues[-1] * len(Q) * torch.finfo(Q.dtype).eps
    information = -((u @ Q[:, kept]).square() @ eigenvalues[kept].log())
    score = math.exp(float(information.mean()))
    flag = "fewer samples than dimensions" if len(x) <= x.shape[1] else ""
    return normal(score, score * float(information.std()) / math.sqrt(len(x)), flag)
