"""A first attack: train a small victim, read its wire, attack it, and compare two defences.

The cells (``# %%``) run in a notebook or as a script; all of it takes less than a minute on one
core. The sizes are far too small for conclusions: they show the steps.

    python docs/examples/first_attack.py
"""

# %% Small settings: 16 private records of the data set that comes with the package, two epochs.
import bench

SMALL = {
    "records": 16,
    "auxiliary": 24,
    "calibration": 8,
    "evaluation": 8,
    "epochs": 2,
    "batch_size": 4,
    "targets": 8,
    "utility_steps": 2,
    "backbones": "embedded",
    "results": "results/first_attack",
}

# %% Train a ControlNet that is split between a client and a server. An equal call opens what was
# trained before.
trained = bench.capture(victim="split-controlnet", defense="none", **SMALL)
print(trained)
print("The client sent:", ", ".join(trained.channels))

# %% What the server may read. The view holds no secret: nothing in it leads to the private images.
view = bench.view(trained, threat="server")
features = view.read("unet_features")
print("Features of the 8 attacked releases:", tuple(features.shape))

# %% Attack: the server knows the noise and the timestep, so it can compute the latent exactly.
claim = bench.attack("closed-form", view)
images = claim.estimates["image"].images
print("Claimed images:", tuple(images.pixels.shape))

# %% Score: every number stands between the best blind guess (floor) and the limit of the victim's
# own autoencoder (ceiling).
scores = bench.score(claim, trained)
shown = scores[scores.metric == "ssim"]
print(shown[["target", "metric", "value", "floor", "ceiling", "normalized"]].to_string(index=False))

# %% Where the server does not see the noise, the claim of this attack comes close to a blind guess.
blind = bench.view(trained, threat="server", withhold=["noise_target"])
weaker = bench.score(bench.attack("closed-form", blind), trained)
shown = weaker[weaker.metric == "ssim"]
print("Without the noise target:")
print(shown[["target", "metric", "value", "floor", "ceiling", "normalized"]].to_string(index=False))

# %% A defence beside it, as rows in a ledger: the timestep policy of the published protocol.
results = bench.run(attack="closed-form", defense=["none", "timestep"], **SMALL)
table = results.summary("ssim", where={"target": "image"})
print(table[["defense", "attack", "ssim", "seeds"]].to_markdown())

# %% The leaderboard ranks defences by their worst attack; here it has one seed and says so.
board = results.leaderboard()
print(board[["defense", "target", "attack", "score", "normalized", "partial"]].to_markdown())

# %% The same numbers, record by record.
per_record = results.scores(results.cells[0])
print(per_record[per_record.metric == "ssim"].groupby("target").value.describe().to_string())
