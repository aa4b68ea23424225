SEGMENTED = f"{FOLDER}/segmentations/{{segmentation}}/{{volume}}"
SEGMENTED_FROM = {
    "prediction": lambda wc: SEGMENTATIONS[wc.segmentation].prediction(
        VOLUMES[wc.volume][1]
    ),
    "volume": f"{FOLDER}/volumes/{{volume}}/volume.json",
    "choice": lambda wc: SEGMENTATIONS[wc.segmentation].choice(),
}
JOINED = {
    "components": lambda wc: SEGMENTATIONS[wc.segmentation].components(
        VOLUMES[wc.volume][1]
    )
}


rule label:
    input:
        **SEGMENTED_FROM,
        parts=parts_of("label", f"{SEGMENTED}/components", segmented_by),
    output:
        f"{SEGMENTED}/components/complete.json",
    log:
        f"{FOLDER}/logs/label/{{segmentation}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        **MEMORY,
    params:
        output=f"{SEGMENTED}/components/complete.json",
        settings=segment_settings,
        choice=lambda wc, input: options("--choice", input.choice),
        step=last_step,
    shell:
        "exec python -m pipeline_lib label --prediction {input.prediction:q} --volume {input.volume:q} {params.choice:q}"
        " --output {params.output:q} --settings {params.settings:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --step {params.step} --log {log:q}"


use rule label as label_part with:
    input:
        **SEGMENTED_FROM,
        plan=plan_before(f"{SEGMENTED}/components"),
    output:
        f"{SEGMENTED}/components/shards/{{part}}.json",
    log:
        f"{FOLDER}/logs/label/{{segmentation}}/{{volume}}-{{part}}.log",
    params:
        step=part_step,


rule segment:
    input:
        **SEGMENTED_FROM,
        **JOINED,
        parts=lambda wc: (
            parts_of("segment", written(SEGMENTED, wc), segmented_by)(wc)
            if JOINED["components"](wc)
            else []
        ),
    output:
        f"{SEGMENTED}/complete.json",
    log:
        f"{FOLDER}/logs/segment/{{segmentation}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        **MEMORY,
    params:
        output=f"{SEGMENTED}/complete.json",
        settings=segment_settings,
        chosen=lambda wc, input: options("--components", input.components)
        or options("--choice", input.choice),
        step=last_step,
    shell:
        "exec python -m pipeline_lib segment --prediction {input.prediction:q} --volume {input.volume:q} {params.chosen:q}"
        " --output {params.output:q} --settings {params.settings:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --step {params.step} --log {log:q}"


use rule segment as segment_part with:
    input:
        **SEGMENTED_FROM,
        **JOINED,
        plan=lambda wc: plan_before(written(SEGMENTED, wc))(wc),
    output:
        f"{SEGMENTED}/{{ungrown}}shards/{{part}}.json",
    log:
        f"{FOLDER}/logs/segment/{{segmentation}}/{{volume}}-{{ungrown}}{{part}}.log",
    wildcard_constraints:
        ungrown="(ungrown/)?",
    params:
        step=part_step,
