rule report:
    input:
        lambda wc: PAGES[wc.page].metrics(),
        lambda wc: PAGES[wc.page].segmentations(),
    output:
        report(f"{FOLDER}/report/{{page}}index.html", category="Report"),
    log:
        f"{FOLDER}/logs/report/{{page}}report.log",
    conda:
        "../../environment.yml"
    params:
        contents=lambda wc: json.dumps(PAGES[wc.page].report_contents(), sort_keys=True),
    shell:
        "exec python -m pipeline_lib report --contents {params.contents:q} --output {output:q} --log {log:q}"


if EXPERIMENT.is_sweep:

    rule compare:
        input:
            [f"{FOLDER}/report/{page}index.html" for page in PAGES],
        output:
            report(PATHS.report, category="Report"),
        log:
            f"{FOLDER}/logs/report/compare.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            runs=EXPERIMENT.digest(),  # the config itself may also say how things are run, which must not compare anew
        shell:
            "exec python -m pipeline_lib compare --config {CONFIG:q} --output {output:q} --log {log:q}"
