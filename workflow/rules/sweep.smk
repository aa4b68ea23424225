SWEPT = f"{FOLDER}/sweeps/{{sweep}}/{{volume}}"
SWEPT_FROM = {
    "prediction": lambda wc: SWEEPS[wc.sweep].prediction(VOLUMES[wc.volume][1]),
    "volume": f"{FOLDER}/volumes/{{volume}}/volume.json",
}


rule sweep:
    input:
        **SWEPT_FROM,
        parts=parts_of("sweep", SWEPT, swept_by),
    output:
        f"{SWEPT}/curve.json",
    log:
        f"{FOLDER}/logs/sweep/{{sweep}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        **MEMORY,
    params:
        output=f"{SWEPT}/curve.json",
        settings=lambda wc: stages.science_json(stages.sweep_stage(swept_by(wc))),
        step=last_step,
    shell:
        "exec python -m pipeline_lib sweep --prediction {input.prediction:q} --volume {input.volume:q}"
        " --output {params.output:q} --settings {params.settings:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --step {params.step} --log {log:q}"


use rule sweep as sweep_part with:
    input:
        **SWEPT_FROM,
        plan=plan_before(SWEPT),
    output:
        f"{SWEPT}/shards/{{part}}.json",
    log:
        f"{FOLDER}/logs/sweep/{{sweep}}/{{volume}}-{{part}}.log",
    params:
        step=part_step,


rule choose_threshold:
    input:
        lambda wc: SWEEPS[wc.sweep].curves(),
    output:
        f"{FOLDER}/sweeps/{{sweep}}/choice.json",
    log:
        f"{FOLDER}/logs/choose_threshold/{{sweep}}.log",
    localrule: True  # seconds, by the workflow itself
    conda:
        "../../environment.yml"
    params:
        settings=lambda wc: stages.science_json(stages.sweep_stage(swept_by(wc))),
        curves=lambda wc, input: options("--curve", input),
    shell:
        "exec python -m pipeline_lib choose-threshold {params.curves:q} --output {output:q}"
        " --settings {params.settings:q} --log {log:q}"
