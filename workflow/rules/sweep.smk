rule sweep:
    input:
        prediction=lambda wc: SWEEPS[wc.sweep].prediction(VOLUMES[wc.volume][1]),
        volume=f"{FOLDER}/volumes/{{volume}}/volume.json",
    output:
        f"{FOLDER}/sweeps/{{sweep}}/{{volume}}/curve.json",
    log:
        f"{FOLDER}/logs/sweep/{{sweep}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores or 1
    params:
        settings=lambda wc: stages.science_json(
            stages.sweep_stage(SWEEPS[wc.sweep].project)
        ),
    shell:
        "exec python -m pipeline_lib sweep --prediction {input.prediction:q} --volume {input.volume:q}"
        " --output {output:q} --settings {params.settings:q} --threads {threads} --log {log:q}"


rule choose_threshold:
    input:
        lambda wc: SWEEPS[wc.sweep].curves(),
    output:
        f"{FOLDER}/sweeps/{{sweep}}/choice.json",
    log:
        f"{FOLDER}/logs/choose_threshold/{{sweep}}.log",
    conda:
        "../../environment.yml"
    params:
        settings=lambda wc: stages.science_json(
            stages.sweep_stage(SWEEPS[wc.sweep].project)
        ),
        curves=lambda wc, input: options("--curve", input),
    shell:
        "exec python -m pipeline_lib choose-threshold {params.curves:q} --output {output:q}"
        " --settings {params.settings:q} --log {log:q}"
