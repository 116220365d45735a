"""Architectures of libraries, built from their configurations with random weights."""

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from tests.zoo.by_hand import drawn
from tests.zoo.truth import Row, Truth, bounded, explosion, in_limit

__all__ = ["INSTALLED", "available"]

VOCABULARY = 64
# Registered once and kept: what a library of operators defines goes away with it.
_OPERATORS: list[torch.library.Library] = []


@cache
def available(package: str) -> bool:
    """Say whether a package that a row needs is installed."""
    return not package or find_spec(package) is not None


@cache
def _with_torchvision() -> None:
    """Import torchvision, whose operators for CUDA do not load beside a torch for CPUs.

    Its Python needs the names of two of them; no row calls these.
    """
    if not available("torchvision"):
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        _OPERATORS.append(library)
        importlib.import_module("torchvision")


def named(package: str, name: str) -> Any:
    """Return a class or function of a package, imported when a row is tried."""
    _with_torchvision()
    module, _, own = f"{package}.{name}".rpartition(".")
    return getattr(importlib.import_module(module), own)


def ids(length: int = 8) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(0))


def words() -> Mapping[str, torch.Tensor]:
    return {"input_ids": ids()}


def translation() -> Mapping[str, torch.Tensor]:
    return {"input_ids": ids(9), "decoder_input_ids": ids(7)}


def pictures() -> Mapping[str, torch.Tensor]:
    return {"pixel_values": drawn(2, 3, 32, 32)}


def of(
    model: str, config: str, depth: str | tuple[str, ...] = "num_hidden_layers", **settings: Any
) -> Callable[[int], nn.Module]:
    """Return a factory: a model of transformers from its configuration."""

    def make(layers: int) -> nn.Module:
        names = (depth,) if isinstance(depth, str) else depth
        given = {key: each(layers) if callable(each) else each for key, each in settings.items()}
        configuration = named("transformers", config)(**given, **dict.fromkeys(names, layers))
        return named("transformers", model)(configuration).eval()

    return make


def row(name: str, make: Callable[[int], nn.Module], inputs: Callable[[], Any], truth: Truth):
    return Row(name, make, inputs, truth, needs="transformers")


SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64,
    "num_attention_heads": 2, "max_position_embeddings": 32,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0}
BESIDE = r"not the output of a module|not outputs of modules|computed outside of modules"
STREAMS = r"stream|tower|encoder|decoder|skip"
STAGES = r"called \d+ times|stage"


def coders(encoder: str = "encoder", decoder: str = "decoder"):
    return {encoder: lambda depth: 2 * depth, decoder: lambda depth: 3 * depth}


def side_by_side(**more: Any) -> Truth:
    """Return the truth of layers whose two branches read the same state."""
    return explosion(2, joint=lambda depth: depth, causes=BESIDE, **more)


LANGUAGE = (
    row("GPT-2", of("GPT2Model", "GPT2Config", "n_layer", vocab_size=VOCABULARY, n_embd=32,
        n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0), words, in_limit(2)),
    row("GPT-NeoX", of("GPTNeoXModel", "GPTNeoXConfig", **SMALL, bos_token_id=0, eos_token_id=0),
        words, side_by_side()),
    row("GPT-NeoX, one after the other", of("GPTNeoXModel", "GPTNeoXConfig", **SMALL,
        use_parallel_residual=False, bos_token_id=0, eos_token_id=0), words, explosion(2)),
    row("GPT-J", of("GPTJModel", "GPTJConfig", "n_layer", vocab_size=VOCABULARY, n_embd=32,
        n_head=2, n_positions=32, rotary_dim=8, bos_token_id=0, eos_token_id=0), words,
        side_by_side()),
    row("Phi", of("PhiModel", "PhiConfig", **SMALL, bos_token_id=0, eos_token_id=0), words,
        side_by_side()),
    row("Falcon", of("FalconModel", "FalconConfig", vocab_size=VOCABULARY, hidden_size=32,
        num_attention_heads=2, bos_token_id=0, eos_token_id=0), words, side_by_side()),
    row("Llama", of("LlamaModel", "LlamaConfig", **GROUPED), words, explosion(2)),
    row("Mistral", of("MistralModel", "MistralConfig", **GROUPED), words, explosion(2)),
    row("Qwen3", of("Qwen3Model", "Qwen3Config", **GROUPED), words, explosion(2)),
    row("Gemma 2", of("Gemma2Model", "Gemma2Config", **GROUPED), words, explosion(2)),
    row("Mixtral", of("MixtralModel", "MixtralConfig", **GROUPED, num_local_experts=4), words,
        explosion(2)),
    row("OPT", of("OPTModel", "OPTConfig", vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64,
        num_attention_heads=2, max_position_embeddings=32, word_embed_proj_dim=32), words,
        explosion(2)),
    row("Bloom", of("BloomModel", "BloomConfig", "n_layer", vocab_size=VOCABULARY, hidden_size=32,
        n_head=2, bos_token_id=0, eos_token_id=0), words, explosion(2)),
    row("Mamba", of("MambaModel", "MambaConfig", vocab_size=VOCABULARY, hidden_size=32,
        state_size=4), words, explosion()),
    row("BERT", of("BertModel", "BertConfig", **SMALL), words, bounded(2)),
    row("DistilBERT", of("DistilBertModel", "DistilBertConfig", "n_layers",
        vocab_size=VOCABULARY, dim=32, hidden_dim=64, n_heads=2, max_position_embeddings=32),
        words, bounded(2)),
    row("DeBERTa", of("DebertaModel", "DebertaConfig", **SMALL), words, bounded(2)),
    row("ALBERT", of("AlbertModel", "AlbertConfig", **SMALL, embedding_size=16), words,
        bounded(2)),
    row("ModernBERT", of("ModernBertModel", "ModernBertConfig", **SMALL, pad_token_id=0,
        bos_token_id=0, eos_token_id=0, cls_token_id=0, sep_token_id=0), words, in_limit(2)),
    row("BART", of("BartModel", "BartConfig", ("encoder_layers", "decoder_layers"),
        vocab_size=VOCABULARY, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=32),
        translation, bounded(streams=coders(), separate=True, causes=STREAMS)),
    row("T5", of("T5Model", "T5Config", ("num_layers", "num_decoder_layers"),
        vocab_size=VOCABULARY, d_model=32, d_kv=16, d_ff=64, num_heads=2), translation,
        explosion(streams=coders(), separate=True, causes=STREAMS)),
)  # fmt: skip

SIGHT = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def whisper_inputs():
    return {"input_features": drawn(2, 16, 24), "decoder_input_ids": ids(7)}


def speech():
    return {"input_values": drawn(2, 1200)}


def both():
    return {**words(), **pictures()}


def clip(depth: int) -> nn.Module:
    text = SMALL | {"num_hidden_layers": depth, "projection_dim": 16, "eos_token_id": 0}
    vision = SIGHT | {"num_hidden_layers": depth, "projection_dim": 16}
    config = named("transformers", "CLIPConfig")(
        text_config=text, vision_config=vision, projection_dim=16
    )
    return named("transformers", "CLIPModel")(config).eval()


def detr(depth: int) -> nn.Module:
    backbone = named("transformers", "ResNetConfig")(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic",
        out_features=["stage2"],
    )  # fmt: skip
    config = named("transformers", "DetrConfig")(
        use_timm_backbone=False, backbone_config=backbone, backbone=None, d_model=32,
        use_pretrained_backbone=False, encoder_layers=depth, decoder_layers=depth,
        encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=5,
    )  # fmt: skip
    return named("transformers", "DetrModel")(config).eval()


WIDE = tuple({"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3)}.items())
OTHERS = (
    row("Whisper", of("WhisperModel", "WhisperConfig", ("encoder_layers", "decoder_layers"),
        vocab_size=VOCABULARY, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=2, decoder_attention_heads=2, num_mel_bins=16,
        max_source_positions=12, max_target_positions=16, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=0, begin_suppress_tokens=[]), whisper_inputs,
        explosion(streams=coders(), separate=True, causes=STREAMS)),
    row("wav2vec 2", of("Wav2Vec2Model", "Wav2Vec2Config", hidden_size=32, intermediate_size=64,
        num_attention_heads=2, num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, apply_spec_augment=False, **dict(WIDE)), speech,
        bounded(2, nested=lambda depth: 1)),
    row("ViT", of("ViTModel", "ViTConfig", **SIGHT), pictures, explosion(2)),
    row("DINOv2", of("Dinov2Model", "Dinov2Config", **SIGHT, layerscale_value=1e-4), pictures,
        bounded(2, regimes=frozenset(("limit", "identity")))),
    row("BEiT", of("BeitModel", "BeitConfig", **SIGHT, layer_scale_init_value=0.0), pictures,
        explosion(2)),
    row("Swin, last stage", of("SwinModel", "SwinConfig", (), image_size=32, patch_size=2,
        embed_dim=16, depths=lambda depth: [1, depth], num_heads=[2, 2], window_size=4), pictures,
        explosion(2, nested=lambda depth: 2, causes=STAGES)),
    row("ConvNeXt, last stage", of("ConvNextModel", "ConvNextConfig", (), num_stages=2,
        hidden_sizes=[8, 16], depths=lambda depth: [1, depth]), pictures,
        bounded(regimes=frozenset(("limit", "identity")), nested=lambda depth: 1)),
    row("ResNet of transformers, last stage", of("ResNetModel", "ResNetConfig", (),
        embedding_size=8, hidden_sizes=[8, 16], depths=lambda depth: [1, depth],
        layer_type="basic"), pictures, explosion(nested=lambda depth: 1)),
    row("CLIP, pictures", of("CLIPVisionModel", "CLIPVisionConfig", **SIGHT), pictures,
        in_limit(2)),
    row("CLIP, both towers", clip, both, in_limit(
        streams={"text": lambda depth: 2 * depth, "vision": lambda depth: 2 * depth},
        separate=True, causes=STREAMS)),
    row("DETR", detr, lambda: {"pixel_values": drawn(1, 3, 64, 64)}, bounded(
        streams=coders(), nested=lambda depth: 2, causes=STREAMS)),
)  # fmt: skip


def torchvision_resnet(block: str, layers: Callable[[int], list[int]]):
    def make(depth: int) -> nn.Module:
        kind = named("torchvision.models.resnet", block)
        return named("torchvision.models.resnet", "ResNet")(kind, layers(depth), num_classes=4)

    return make


def torchvision_vit(depth: int) -> nn.Module:
    return named("torchvision.models.vision_transformer", "VisionTransformer")(
        image_size=32, patch_size=8, num_layers=depth, num_heads=2, hidden_dim=32, mlp_dim=64,
        num_classes=4,
    )  # fmt: skip


def timm_vit(**settings: Any):
    def make(depth: int) -> nn.Module:
        return named("timm.models.vision_transformer", "VisionTransformer")(
            img_size=32, patch_size=8, embed_dim=32, depth=depth, num_heads=2, num_classes=4,
            **settings,
        ).eval()  # fmt: skip

    return make


def timm_model(module: str, name: str, **settings: Any):
    def make(depth: int) -> nn.Module:
        given = {key: each(depth) if callable(each) else each for key, each in settings.items()}
        return named(f"timm.models.{module}", name)(**given).eval()

    return make


def scene():
    return drawn(2, 3, 32, 32)


PICTURES = (
    Row("torchvision ResNet, all stages", torchvision_resnet("BasicBlock", lambda d: [d] * 4),
        scene, explosion(4), (2, 4, 8, 16), "torchvision"),
    Row("torchvision ResNet, one stage",
        torchvision_resnet("Bottleneck", lambda d: [1, d, 1, 1]), scene,
        explosion(nested=lambda depth: 3), needs="torchvision"),
    Row("torchvision ViT", torchvision_vit, scene, explosion(2), needs="torchvision"),
    Row("timm ViT", timm_vit(), scene, explosion(2), needs="timm"),
    Row("timm ViT, LayerScale", timm_vit(init_values=1e-5), scene,
        bounded(2, regimes=frozenset(("limit", "identity"))), needs="timm"),
    Row("timm MLP-Mixer", timm_model("mlp_mixer", "MlpMixer", num_blocks=lambda d: d,
        img_size=32, patch_size=8, embed_dim=32, num_classes=4), scene, explosion(2),
        needs="timm"),
    Row("timm CaiT", timm_model("cait", "Cait", img_size=32, patch_size=8, embed_dim=32,
        depth=lambda d: d, num_heads=2, num_classes=4, init_values=1e-4), scene,
        bounded(2, regimes=frozenset(("limit", "identity")), nested=lambda depth: 4,
                causes=STAGES), needs="timm"),
    Row("timm BEiT", timm_model("beit", "Beit", img_size=32, patch_size=8, embed_dim=32,
        depth=lambda d: d, num_heads=2, num_classes=4, init_values=None), scene,
        # 1/sqrt(2k) in the weights of layer k: a sum of log L.
        bounded(2), (8, 16, 32, 64), "timm"),
    Row("timm ConvMixer", timm_model("convmixer", "ConvMixer", dim=16, depth=lambda d: d,
        patch_size=4, num_classes=4), scene,
        # Fn(x) + x, then a convolution of everything: the stream passes through weights.
        bounded(causes="weights|stream"), needs="timm"),
)  # fmt: skip


def x_model(**settings: Any):
    def make(depth: int) -> nn.Module:
        layers = named("x_transformers", "Decoder")(
            dim=32, depth=depth, heads=2, attn_dim_head=16, **settings
        )
        return named("x_transformers", "TransformerWrapper")(
            num_tokens=VOCABULARY, max_seq_len=32, attn_layers=layers
        ).eval()

    return make


def x_translator(depth: int) -> nn.Module:
    coder = {"num_tokens": VOCABULARY, "depth": depth, "heads": 2, "max_seq_len": 32}
    model = named("x_transformers", "XTransformer")(
        dim=32,
        **{f"{side}_{key}": value for side in ("enc", "dec") for key, value in coder.items()},
    )
    return model.eval()


def diffusion(name: str, settings: Callable[[int], Mapping[str, Any]]):
    def make(depth: int) -> nn.Module:
        return named("diffusers", name)(**settings(depth)).eval()

    return make


def of_sd3(depth: int):
    return {
        "sample_size": 8, "patch_size": 2, "in_channels": 4, "num_layers": depth,
        "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32,
        "caption_projection_dim": 32, "pooled_projection_dim": 16, "out_channels": 4,
        "pos_embed_max_size": 8,
    }  # fmt: skip


def sd3_inputs():
    return {
        "hidden_states": drawn(2, 4, 8, 8), "encoder_hidden_states": drawn(2, 5, 32),
        "pooled_projections": drawn(2, 16), "timestep": torch.tensor([3, 7]),
    }  # fmt: skip


def of_dit(depth: int):
    return {
        "sample_size": 8, "patch_size": 2, "in_channels": 4, "num_layers": depth,
        "attention_head_dim": 16, "num_attention_heads": 2, "num_embeds_ada_norm": 10,
    }  # fmt: skip


def dit_inputs():
    return {
        "hidden_states": drawn(2, 4, 8, 8), "timestep": torch.tensor([3, 7]),
        "class_labels": torch.tensor([1, 2]),
    }  # fmt: skip


MORE = (
    Row("x-transformers decoder", x_model(), ids, explosion(2), needs="x_transformers"),
    Row("x-transformers, sandwich norms", x_model(sandwich_norm=True), ids, explosion(2),
        needs="x_transformers"),
    Row("x-transformers, encoder and decoder", x_translator, lambda: (ids(9), ids(7)),
        explosion(streams=coders(), separate=True, causes=STREAMS), needs="x_transformers"),
    # The last block leaves the words alone: two branches less.
    Row("Stable Diffusion 3", diffusion("SD3Transformer2DModel", of_sd3), sd3_inputs,
        explosion(streams={"pictures": lambda depth: 2 * depth,
                           "words": lambda depth: 2 * depth - 2}, causes=STREAMS),
        needs="diffusers"),
    Row("DiT", diffusion("DiTTransformer2DModel", of_dit), dit_inputs,
        explosion(2), needs="diffusers"),
)  # fmt: skip

INSTALLED: tuple[Row, ...] = (*LANGUAGE, *OTHERS, *PICTURES, *MORE)
