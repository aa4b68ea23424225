EVALUATED = f"{FOLDER}/evaluations/{{evaluation}}/{{volume}}"
EVALUATED_FROM = {
    "segmentation": lambda wc: EVALUATIONS[wc.evaluation].segmentation(
        VOLUMES[wc.volume][1]
    ),
    "volume": f"{FOLDER}/volumes/{{volume}}/volume.json",
    "against": lambda wc: EVALUATIONS[wc.evaluation].against(wc.volume),
}


rule evaluate:
    input:
        **EVALUATED_FROM,
        parts=parts_of("evaluate", EVALUATED, evaluated_by),
    output:
        f"{EVALUATED}/metrics.json",
    log:
        f"{FOLDER}/logs/evaluate/{{evaluation}}/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        **MEMORY,
    params:
        output=f"{EVALUATED}/metrics.json",
        settings=lambda wc: stages.science_json(
            stages.evaluate_stage(evaluated_by(wc), VOLUMES[wc.volume][1])
        ),
        step=last_step,
    shell:
        "exec python -m pipeline_lib evaluate --segmentation {input.segmentation:q} --volume {input.volume:q}"
        " --output {params.output:q} --settings {params.settings:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --step {params.step} --log {log:q}"


use rule evaluate as evaluate_part with:
    input:
        **EVALUATED_FROM,
        plan=plan_before(EVALUATED),
    output:
        f"{EVALUATED}/shards/{{part}}.json",
    log:
        f"{FOLDER}/logs/evaluate/{{evaluation}}/{{volume}}-{{part}}.log",
    params:
        step=part_step,
