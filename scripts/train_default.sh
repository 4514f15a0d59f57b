#!/usr/bin/env bash
# Train the default model as its card says: real orthophotos of four places and procedural scenes, in three stages.
# usage: train_default.sh DATA WORK    DATA: banepa_south, banepa_east, zanzibar, dhaka, banepa_north; WORK: an empty folder
set -euo pipefail
data=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)
tiles() { # NAME SPLIT ARGUMENTS
    geofootprint tile "${@:3}" --gsd 0.15 --size 1024 --split "$2" --contour-width 4 -o "$work/$1"
}

for place in banepa_south banepa_east zanzibar dhaka; do
    tiles "$place" 1,0,0 "$data/$place/ortho.tif" --footprints "$data/$place/buildings.gpkg"
done
# For validation alone: it decides which checkpoint is kept, and at which threshold.
tiles banepa_north 0,1,0 "$data/banepa_north/ortho.tif" --footprints "$data/banepa_north/buildings.gpkg" \
    --aoi "$data/banepa_north/aoi.geojson"
python "$here/make_scenes.py" 24 "$work/scenes_raw"
tiles scenes 1,0,0 "$work"/scenes_raw/scene_*.tif --footprints "$work/scenes_raw/buildings.gpkg"
python "$here/make_scenes.py" 18 "$work/suburbs_raw" --seed 2000 --styles suburb,old_town,suburb,rural,suburb,industrial
tiles suburbs 1,0,0 "$work"/suburbs_raw/scene_*.tif --footprints "$work/suburbs_raw/buildings.gpkg"

cd "$work"
places=(banepa_south banepa_east zanzibar dhaka)
stage() { # NAME CROPS_PER_EPOCH RATE ADVERSARIAL_START ARGUMENTS
    printf '[data]\ncrops_per_epoch = %s\n[optimizer]\nlearning_rate = %s\n[loss]\nadversarial_start = %s\n' "${@:2:3}" > "$1.toml"
    geofootprint train "${places[@]}" banepa_north -o "$1" --config "$1.toml" "${@:5}"
}
# Each stage was as long as the clock says on two processor cores that other programs used too; the steps done are in the card.
stage first 2000 0.001 0.7 --minutes 25
stage second 2400 0.0008 1.0 --minutes 33 --init-from first/best.ckpt scenes:0.4
stage third 2400 0.0007 0.7 --minutes 34 --init-from second/last.ckpt scenes:0.3 suburbs:0.4
geofootprint export third/best.ckpt -o default.onnx --half --name geofootprint-default-v0 --licence "ODbL 1.0, CC BY 4.0" \
    --source "OpenAerialMap contributors: imagery of Banepa, Zanzibar, Dhaka" "CC BY 4.0" \
    --source "OpenStreetMap contributors: buildings" "ODbL 1.0" \
    --source "geofootprint: procedural scenes" "Apache-2.0"
