"""The data sets known by name: their splits, how many images a whole copy has, where it is got and on what terms.

Facts alone: nothing here reads a file, so that `samclr data list` and --help are instant.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split as released. `required`: `samclr data check` asks for it; `labelled`: each image has a label."""

    name: str
    num_images: int
    labelled: bool = True
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set known by name.

    Attributes:
        folders: names under which a root may hold it; the root may also be such a folder itself.
        holds: what must lie in that folder for it to be this set.
        splits: in the layout's own words. scene_split: the one that NAME@ROOT means.
        uses: scenes (pre-training), regions (labels for --segmenter labels), dense, labelled (classes of images).
        native_px: shorter side of its images, where all are alike.
        downloads: whether `samclr data check --download` can fetch it.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    holds: str
    splits: tuple[Split, ...]
    scene_split: str
    uses: tuple[str, ...]
    layout: str
    got_at: str
    terms: str
    native_px: int | None = None
    downloads: bool = False

    def split(self, name: str) -> Split | None:
        """The split of that name, None if there is none."""
        return next((split for split in self.splits if split.name == name), None)


def _imagenette(name: str, folder: str, native_px: int | None) -> DataSet:
    return DataSet(
        name=name,
        title=f"ImageNette, {f'{native_px} px' if native_px else 'full size'}",
        folders=(folder,),
        holds="train",
        splits=(Split(name="train", num_images=9469), Split(name="val", num_images=3925)),
        scene_split="train",
        uses=("scenes", "labelled"),
        layout=f"{folder}/{{train,val}}/nXXXXXXXX/*.JPEG",
        got_at=f"the ImageNette page of fast.ai, {folder}.tgz",
        terms="repository Apache-2.0; the photographs are ImageNet's, for non-commercial research and teaching",
        native_px=native_px,
        downloads=True,
    )


_ALL = (
    DataSet(
        name="cityscapes",
        title="Cityscapes",
        folders=("cityscapes",),
        holds="leftImg8bit",
        splits=(
            Split(name="train", num_images=2975),
            Split(name="val", num_images=500),
            Split(name="test", num_images=1525, labelled=False, required=False),
            Split(name="train_extra", num_images=19998, labelled=False, required=False),
        ),
        scene_split="train",
        uses=("scenes", "regions", "dense"),
        layout="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, gtFine/SPLIT/CITY/*_gtFine_{labelIds,instanceIds}.png",
        got_at="the Cityscapes site, after registration: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip "
        "(train_extra: leftImg8bit_trainextra.zip and gtCoarse.zip)",
        terms="own licence: non-commercial research and teaching, no redistribution",
        native_px=1024,
    ),
    DataSet(
        name="ade20k",
        title="ADE20K, scene parsing",
        folders=("ADEChallengeData2016", "ade20k"),
        holds="images",
        splits=(Split(name="training", num_images=20210), Split(name="validation", num_images=2000)),
        scene_split="training",
        uses=("scenes", "regions", "dense"),
        layout="images/{training,validation}/*.jpg, annotations/{training,validation}/*.png",
        got_at="the page of the MIT Scene Parsing Benchmark, ADEChallengeData2016.zip",
        terms="photographs for non-commercial research and teaching; annotations BSD-3-Clause",
    ),
    DataSet(
        name="ade20k-full",
        title="ADE20K, full",
        folders=("ADE20K_2021_17_01",),
        holds="images/ADE",
        splits=(Split(name="training", num_images=25574), Split(name="validation", num_images=2000)),
        scene_split="training",
        uses=("scenes", "regions"),
        layout="ADE20K_2021_17_01/images/ADE/SPLIT/.../*.jpg with *_seg.png beside it",
        got_at="the ADE20K site, after registration: the full data set of 2021_17_01",
        terms="photographs for non-commercial research and teaching; annotations BSD-3-Clause",
    ),
    DataSet(
        name="camvid",
        title="CamVid",
        folders=("camvid",),
        holds="images",
        splits=(
            Split(name="train", num_images=367),
            Split(name="val", num_images=101),
            Split(name="test", num_images=233),
        ),
        scene_split="train",
        uses=("scenes", "regions", "dense"),
        layout="images/{train,val,test}/*, labels/{train,val,test}/*.png of the same stem (480x360, 11 classes)",
        got_at="the SegNet tutorial's CamVid folder, its SPLIT and SPLITannot moved to images/SPLIT and labels/SPLIT",
        terms="non-commercial research",
        native_px=360,
    ),
    DataSet(
        name="bsds500",
        title="BSDS500",
        folders=("bsds500",),
        holds="images",
        splits=(
            Split(name="train", num_images=200),
            Split(name="val", num_images=100),
            Split(name="test", num_images=200),
        ),
        scene_split="train",
        uses=("scenes", "regions"),
        layout="images/{train,val,test}/ID.jpg, segmentations/{train,val,test}/ID_K.png, one for each person K",
        got_at="the Berkeley segmentation page, BSR_bsds500.tgz, each groundTruth/*.mat written as ID_K.png",
        terms="non-commercial research and teaching, cite Arbelaez et al. 2011",
        native_px=321,
    ),
    DataSet(
        name="cifar10",
        title="CIFAR-10",
        folders=("cifar-10-batches-py",),
        holds="batches.meta",
        splits=(Split(name="train", num_images=50000), Split(name="test", num_images=10000)),
        scene_split="train",
        uses=("scenes", "labelled"),
        layout="cifar-10-batches-py/{data_batch_1..5,test_batch,batches.meta}",
        got_at="the CIFAR page of the University of Toronto, cifar-10-python.tar.gz",
        terms="none stated; cite Krizhevsky 2009",
        native_px=32,
        downloads=True,
    ),
    DataSet(
        name="stl10",
        title="STL-10",
        folders=("stl10_binary",),
        holds="train_X.bin",
        splits=(
            Split(name="train", num_images=5000),
            Split(name="test", num_images=8000),
            Split(name="unlabeled", num_images=100000, labelled=False),
        ),
        scene_split="unlabeled",
        uses=("scenes", "labelled"),
        layout="stl10_binary/{train,test}_{X,y}.bin, unlabeled_X.bin",
        got_at="the STL-10 page of Stanford, stl10_binary.tar.gz",
        terms="none stated; the photographs are ImageNet's; cite Coates et al. 2011",
        native_px=96,
        downloads=True,
    ),
    _imagenette("imagenette", "imagenette2", None),
    _imagenette("imagenette-320", "imagenette2-320", 320),
    _imagenette("imagenette-160", "imagenette2-160", 160),
)
DATA_SETS = {data_set.name: data_set for data_set in _ALL}
