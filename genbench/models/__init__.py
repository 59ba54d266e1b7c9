"""The models, one file each. This registry says what exists without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from genbench.data import DatasetInfo
from genbench.errors import UserError
from genbench.suite import ModelSpec, Spec, unknown, validate

if TYPE_CHECKING:
    from genbench.models.interface import Model


@dataclass(frozen=True)
class ModelInfo:
    """Where a model lives. `module` holds its `Params`; `attribute` is its class. `version` is
    raised when the same parameters would train another network: its cells are then run again.
    `modalities`: what its rows may be. `labelled`: whether its training is told each row's class,
    which the others never learn."""

    family: str
    module: str
    attribute: str
    title: str
    version: int = 1
    modalities: tuple[str, ...] = ("images",)
    labelled: bool = False


TOKENS = ("text", "music")
ALL = ("images", *TOKENS)


MODELS: dict[str, ModelInfo] = {
    "mlp-gan": ModelInfo("gan", "mlp_gan", "MLPGAN", "MLP GAN"),
    "dcgan": ModelInfo("gan", "dcgan", "DCGAN", "DCGAN (non-saturating)", 2),
    "lsgan": ModelInfo("gan", "lsgan", "LSGAN", "LSGAN"),
    "wgan-gp": ModelInfo("gan", "wgan_gp", "WGANGP", "WGAN-GP"),
    "sngan": ModelInfo("gan", "sngan", "SNGAN", "SNGAN (hinge)"),
    "cgan": ModelInfo("gan", "cgan", "CGAN", "Class-conditional GAN", labelled=True),
    "mlp-vae": ModelInfo("vae", "mlp_vae", "MLPVAE", "MLP VAE"),
    "vae": ModelInfo("vae", "vae", "VAE", "Convolutional VAE", 2),
    "beta-vae": ModelInfo("vae", "beta_vae", "BetaVAE", "β-VAE"),
    "cvae": ModelInfo("vae", "cvae", "CVAE", "Class-conditional VAE", labelled=True),
    "vqvae": ModelInfo("vae", "vqvae", "VQVAEMarginals", "VQ-VAE, independent codes"),
    "vae-gan": ModelInfo("vae", "vae_gan", "VAEGAN", "VAE-GAN"),
    "pixel-gpt": ModelInfo("transformer", "pixel_gpt", "PixelGPT", "Pixel GPT", 2),
    "vqvae-gpt": ModelInfo("transformer", "vqvae_gpt", "VQVAEGPT", "VQ-VAE + GPT prior", 2),
    "class-vqvae-gpt": ModelInfo(
        "transformer",
        "class_vqvae_gpt",
        "ClassVQVAEGPT",
        "VQ-VAE + class-conditional GPT",
        labelled=True,
    ),
    "vqvae-lstm": ModelInfo("recurrent", "vqvae_lstm", "VQVAELSTM", "VQ-VAE + LSTM prior"),
    "diffusion": ModelInfo("diffusion", "diffusion", "Diffusion", "Diffusion"),
    "train-split": ModelInfo("control", "controls", "TrainSplit", "Real training split", 2, ALL),
    "copier": ModelInfo("control", "controls", "Copier", "Copies of a few training rows", 2, ALL),
    "class-dropped": ModelInfo("control", "controls", "ClassDropped", "Real, one class dropped", 2),
    "blurred": ModelInfo("control", "controls", "Blurred", "Real, blurred", 2),
    "pixel-gaussian": ModelInfo("control", "controls", "PixelGaussian", "Per-pixel Gaussian"),
    "gaussian-mixture": ModelInfo(
        "control", "gaussian_mixture", "GaussianMixture", "Mixture of Gaussians"
    ),
    "noise": ModelInfo("control", "controls", "Noise", "Uniform noise", 1, ALL),
    "distorted": ModelInfo("control", "distorted", "Distorted", "Real, one fault by degrees"),
    "planted": ModelInfo("control", "planted", "Planted", "Fresh real images with copies planted"),
    "token-gan": ModelInfo("gan", "token_gan", "TokenGAN", "WGAN-GP on tokens", 1, TOKENS),
    "token-vae": ModelInfo("vae", "token_vae", "TokenVAE", "Sequence VAE", 1, TOKENS),
    "token-gpt": ModelInfo("transformer", "token_gpt", "TokenGPT", "GPT", 1, TOKENS),
    "token-lstm": ModelInfo("recurrent", "token_lstm", "TokenLSTM", "LSTM", 1, TOKENS),
    "ngram": ModelInfo("control", "ngram", "NGram", "n-grams (Kneser-Ney)", 1, TOKENS),
    "shuffled-words": ModelInfo(
        "control", "token_controls", "ShuffledWords", "Real, words shuffled", 1, ("text",)
    ),
    "shuffled-bars": ModelInfo(
        "control", "token_controls", "ShuffledBars", "Real, bars shuffled", 1, ("music",)
    ),
}

FAMILIES = ("gan", "vae", "transformer", "recurrent", "diffusion", "control")


def resolve(spec: ModelSpec, where: str = "model") -> Spec:
    """The model's complete parameters. Raises UserError for an unknown model or parameter."""
    if spec.name not in MODELS:
        raise UserError(f"{where}: {unknown('model', spec.name, MODELS)}")
    module = import_module(f"genbench.models.{MODELS[spec.name].module}")
    params: type[Spec] = module.Params
    return validate(params, spec.settings, f"{where}: model {spec.name}")


def build(spec: ModelSpec, data: DatasetInfo) -> Model:
    """A freshly initialised model (on the CPU, from torch's global generator)."""
    params = resolve(spec)
    info = MODELS[spec.name]
    module = import_module(f"genbench.models.{info.module}")
    model: Model = getattr(module, info.attribute)(params, data)
    return model
