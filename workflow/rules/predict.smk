rule predict:
    input:
        model=lambda wc: PREDICTIONS[wc.prediction].network(),
        volume=f"{FOLDER}/volumes/{{volume}}/volume.json",
    output:
        f"{FOLDER}/predictions/{{prediction}}/{{volume}}/complete.json",
    log:
        f"{FOLDER}/logs/predict/{{prediction}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores or 1
    resources:
        gpu=1,
    params:
        settings=lambda wc: stages.science_json(
            stages.predict_stage(PREDICTIONS[wc.prediction].project)
        ),
    shell:
        "exec python -m pipeline_lib predict --model {input.model:q} --volume {input.volume:q} --output {output:q}"
        " --settings {params.settings:q} --threads {threads} --log {log:q}"
