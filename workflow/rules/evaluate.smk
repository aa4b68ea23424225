rule evaluate:
    input:
        segmentation=lambda wc: EVALUATIONS[wc.evaluation].segmentation(
            VOLUMES[wc.volume][1]
        ),
        volume=f"{FOLDER}/volumes/{{volume}}/volume.json",
        against=lambda wc: EVALUATIONS[wc.evaluation].against(wc.volume),
    output:
        f"{FOLDER}/evaluations/{{evaluation}}/{{volume}}/metrics.json",
    log:
        f"{FOLDER}/logs/evaluate/{{evaluation}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    params:
        settings=lambda wc: stages.science_json(
            stages.evaluate_stage(
                EVALUATIONS[wc.evaluation].project, VOLUMES[wc.volume][1]
            )
        ),
    shell:
        "exec python -m pipeline_lib evaluate --segmentation {input.segmentation:q} --volume {input.volume:q}"
        " --output {output:q} --settings {params.settings:q} --log {log:q}"
