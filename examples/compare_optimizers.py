"""The same network, data, split and seed under four optimisers: only the update rule differs.

python examples/compare_optimizers.py
"""

from __future__ import annotations

import pellucid


def main() -> None:
    print(f"{'optimizer':10}  {'learning rate':>13}  {'loss, epoch 1':>13}  {'loss, epoch 8':>13}  {'test accuracy':>13}")
    for optimizer in ("sgd", "momentum", "rmsprop", "adam"):
        # learning_rate="auto" runs a range test for each: a rate that suits one would be unfair to another.
        run = pellucid.fit("digits", network="mlp", optimizer=optimizer, epochs=8, seed=0)
        losses = [row["validation"]["loss"] for row in run.history]
        rate, accuracy = run.settings["learning_rate"], run.metrics["test"]["accuracy"]
        print(f"{optimizer:10}  {rate:13.4g}  {losses[0]:13.3f}  {losses[-1]:13.3f}  {accuracy:13.3f}")


if __name__ == "__main__":
    main()
