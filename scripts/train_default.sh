#!/usr/bin/env bash
# Train the default model as its card says: real orthophotos of four places, then procedural scenes with them.
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
# Weights: so that no place is drawn from much more often than its buildings are worth.
places=(banepa_south banepa_east:2 zanzibar:0.7 dhaka:1.5 banepa_north)
geofootprint train "${places[@]}" -o first --minutes 30
printf '[optimizer]\nlearning_rate = 7e-4\n' > second.toml
geofootprint train "${places[@]}" scenes:0.15 suburbs:0.25 -o second --minutes 45 --config second.toml --init-from first/best.ckpt
geofootprint export second/best.ckpt -o default.onnx --half --name geofootprint-default-v1 --licence "ODbL 1.0, CC BY 4.0" \
    --source "OpenAerialMap contributors: imagery of Banepa, Zanzibar, Dhaka" "CC BY 4.0" \
    --source "OpenStreetMap contributors: buildings" "ODbL 1.0" \
    --source "geofootprint: procedural scenes" "Apache-2.0"
