PREDICTED = f"{FOLDER}/predictions/{{prediction}}/{{volume}}"
PREDICTED_FROM = {
    "model": lambda wc: PREDICTIONS[wc.prediction].network(),
    "volume": f"{FOLDER}/volumes/{{volume}}/volume.json",
}


rule predict:
    input:
        **PREDICTED_FROM,
        parts=parts_of("predict", PREDICTED, predicted_by),
    output:
        f"{PREDICTED}/complete.json",
    log:
        f"{FOLDER}/logs/predict/{{prediction}}/{{volume}}.log",
    wildcard_constraints:
        prediction="(?:best|last)-[^/]+",
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        **MEMORY,
        gpu=lambda wc, input: 0 if input.get("parts") else 1,
    params:
        output=f"{PREDICTED}/complete.json",
        settings=lambda wc: stages.science_json(stages.predict_stage(predicted_by(wc))),
        step=last_step,
    shell:
        "exec python -m pipeline_lib predict --model {input.model:q} --volume {input.volume:q} --output {params.output:q}"
        " --settings {params.settings:q} --threads {threads} --gpus {resources.gpu}"
        " --memory-mb {resources.mem_mb} --step {params.step} --log {log:q}"


use rule predict as predict_part with:
    input:
        **PREDICTED_FROM,
        plan=plan_before(PREDICTED),
    output:
        f"{PREDICTED}/shards/{{part}}.json",
    log:
        f"{FOLDER}/logs/predict/{{prediction}}/{{volume}}-{{part}}.log",
    resources:
        **MEMORY,
        gpu=lambda wc: 0 if wc.part == "planned" else 1,
    params:
        step=part_step,


AVERAGED_FROM = {
    "predictions": lambda wc: [
        member.prediction(VOLUMES[wc.volume][1])
        for member in PREDICTIONS[wc.prediction].members
    ],
    "volume": f"{FOLDER}/volumes/{{volume}}/volume.json",
}


rule average:
    input:
        **AVERAGED_FROM,
        parts=parts_of("predict", PREDICTED, predicted_by),
    output:
        f"{PREDICTED}/complete.json",
    log:
        f"{FOLDER}/logs/average/{{prediction}}/{{volume}}.log",
    wildcard_constraints:
        prediction="mean-[^/]+",  # of the networks of an ensemble
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        **MEMORY,
    params:
        output=f"{PREDICTED}/complete.json",
        predictions=lambda wc, input: options("--prediction", input.predictions),
        settings=lambda wc: stages.science_json(stages.predict_stage(predicted_by(wc))),
        step=last_step,
    shell:
        "exec python -m pipeline_lib average {params.predictions:q} --volume {input.volume:q} --output {params.output:q}"
        " --settings {params.settings:q} --threads {threads} --memory-mb {resources.mem_mb} --step {params.step} --log {log:q}"


use rule average as average_part with:
    input:
        **AVERAGED_FROM,
        plan=plan_before(PREDICTED),
    output:
        f"{PREDICTED}/shards/{{part}}.json",
    log:
        f"{FOLDER}/logs/average/{{prediction}}/{{volume}}-{{part}}.log",
    params:
        step=part_step,
