"""kNN on frozen features: the setting asked for, and the two usual ones, by one search."""

from samclr.config.protocols import KnnConfig
from samclr.errors import name_some
from samclr.evaluation.neighbours import USUAL_SETTINGS, KnnSetting, knn_ranked
from samclr.evaluation.protocols.answers import answered
from samclr.evaluation.protocols.base import LabelledProtocol, LabelledTask, Outcome
from samclr.evaluation.protocols.linear import probe_state
from samclr.log import say


class Knn(LabelledProtocol[KnnConfig]):
    """Weighted nearest neighbours."""

    def measure(self, task: LabelledTask) -> list[Outcome]:
        """The setting asked for first; the others under their k and temperature."""
        num = len(task.labelled.train.refs)
        asked = KnnSetting(k=self.config.knn_k, temperature=self.config.knn_temperature)
        settings = list(dict.fromkeys([asked, *USUAL_SETTINGS]))
        too_large = sorted({setting.k for setting in settings if setting.k > num})
        if too_large:
            shown = name_some([*map(str, too_large)])
            say(f"{task.labelled.name} has {num} training images: all of them vote where kNN's k is {shown}")
        train, test = task.features
        asked_for = {"settings": [setting.name for setting in settings]}
        state = probe_state(task, self.config.name, asked_for)
        ranked = knn_ranked(test, train, task.labels[0], len(task.labelled.classes), settings, task.device, state)
        named = [("", asked), *((setting.name, setting) for setting in settings)]
        return [
            answered(
                task,
                answers,
                variant=variant,
                settings={"knn_k": setting.k, "knn_temperature": setting.temperature},
                counts={"voters": min(setting.k, num)},
            )
            for (variant, setting), answers in zip(named, [ranked[0], *ranked], strict=True)
        ]


def build(config: KnnConfig) -> Knn:
    """See ProtocolSpec.build."""
    return Knn(config)
