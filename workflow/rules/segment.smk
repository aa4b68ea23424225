rule segment:
    input:
        prediction=lambda wc: SEGMENTATIONS[wc.segmentation].prediction(
            VOLUMES[wc.volume][1]
        ),
        volume=f"{FOLDER}/volumes/{{volume}}/volume.json",
        choice=lambda wc: SEGMENTATIONS[wc.segmentation].choice(),
    output:
        f"{FOLDER}/segmentations/{{segmentation}}/{{volume}}/complete.json",
    log:
        f"{FOLDER}/logs/segment/{{segmentation}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores or 1
    params:
        settings=lambda wc: stages.science_json(
            stages.segment_stage(SEGMENTATIONS[wc.segmentation].project)
        ),
        choice=lambda wc, input: options("--choice", input.choice),
    shell:
        "exec python -m pipeline_lib segment --prediction {input.prediction:q} --volume {input.volume:q}"
        " {params.choice:q} --output {output:q} --settings {params.settings:q} --threads {threads} --log {log:q}"
