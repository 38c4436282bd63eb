#!/usr/bin/env bash
# Image views against region views on CamVid, three paired seeds, measured on CIFAR-10.
#   benchmarks/camvid.sh CAMVID_IMAGES CIFAR10_PARQUET_FOLDER OUT
# Two runs at a time with one thread each: about an hour and a half on two idle cores. Run again, it goes on.
set -euo pipefail
scenes=$1 cifar=$2 out=$3
samclr=${SAMCLR:-samclr}

$samclr segment "$scenes" --segmenter felzenszwalb --scale 500 --sigma 0.8 --min-size 400 --out "$out/regions"
$samclr pack "$scenes" --bank "$out/bank"

train() { # recipe, its further options
    local recipe=$1
    shift
    for seed in 0 1 2; do
        $samclr pretrain "$recipe" --scenes "$scenes" "$@" --bank "$out/bank" --out "$out/runs/$recipe-$seed" \
            --seed $seed --stem conv3x3-stride2 --size-px 64 --crop-scale 0.2 1 --global-batch-size 128 --epochs 60 \
            --optimizer adamw --lr 1e-3 --temperature 0.2 --min-area-px 0 --min-area-frac 0.005 --padding 1.0 \
            --num-threads 1 --workers 1
    done
}
train simclr &
first=$!
train samclr --regions "$out/regions"
wait $first

measure="--on $cifar --image-px 48 --num-train 10000 --num-test 5000 --knn-k 20"
for seed in 0 1 2; do
    $samclr evaluate "$out/runs/simclr-$seed" --untrained $measure
    $samclr evaluate "$out/runs/simclr-$seed" $measure
    $samclr evaluate "$out/runs/samclr-$seed" $measure
done
$samclr report "$out"/runs/simclr-{0,1,2} "$out"/runs/samclr-{0,1,2} --out "$out/report.html"
