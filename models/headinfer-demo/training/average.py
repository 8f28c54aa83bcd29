"""Averages trained models: average.py OUT_DIR WEIGHT:DIR..., such as average.py mean 0.5:first 0.5:second

Two runs that go on from one model are often better together than each is. What is beside the weights is the last folder's.
"""
import shutil, sys
import torch
from safetensors.torch import load_file, save_file

parts = [(float(w), d) for w, _, d in (a.partition(":") for a in sys.argv[2:])]
total = sum(w for w, _ in parts)
mean = {}
for w, d in parts:
    for name, x in load_file(f"{d}/model.safetensors").items():
        mean[name] = mean.get(name, 0) + x.float() * (w / total)
shutil.copytree(parts[-1][1], sys.argv[1], dirs_exist_ok=True)
save_file({n: x.to(torch.bfloat16).contiguous() for n, x in mean.items()}, f"{sys.argv[1]}/model.safetensors", metadata={"format": "pt"})
