// Holds the dashboards against the types of @grafana/schema, as JSON Schema that allows no unknown keys.
// Run by tests/grafana/run, from the root of the repository.

import fs from "node:fs";
import path from "node:path";
import { Ajv } from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const here = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname));
const types = path.join(here, "node_modules/@grafana/schema/dist/types");
// Of a type of panel, the module that describes it.
const modules = {
  heatmap: "heatmap",
  stat: "stat",
  "state-timeline": "statetimeline",
  table: "table",
  timeseries: "timeseries",
};
// Their types describe the annotations of Grafana's own data source alone.
const annotations = "/annotations/list";

function generator() {
  const lines = [
    `import * as dashboard from "${types}/raw/dashboard/x/types.gen";`,
    "export type TheDashboard = dashboard.Dashboard;",
    "export type ThePanel = dashboard.Panel;",
    "export type TheRow = dashboard.RowPanel;",
    ...Object.values(modules).flatMap((name) => [
      `import * as ${name} from "${types}/raw/composable/${name}/panelcfg/x/types.gen";`,
      `export type ${name}Options = ${name}.Options;`,
      // Numbers alone have no configuration of their own.
      `export type ${name}Field = ${name === "stat" ? "{}" : `${name}.FieldConfig`};`,
    ]),
  ];
  fs.writeFileSync(path.join(here, "entry.ts"), lines.join("\n"));
  const compilerOptions = {
    module: "esnext",
    moduleResolution: "bundler",
    target: "esnext",
    skipLibCheck: true,
    paths: { "@grafana/schema": [`${types}/index.d.ts`] },
  };
  fs.writeFileSync(path.join(here, "tsconfig.json"), JSON.stringify({ compilerOptions }));
  return createGenerator({
    path: path.join(here, "entry.ts"),
    tsconfig: path.join(here, "tsconfig.json"),
    skipTypeCheck: true,
    additionalProperties: false,
    type: "*",
  });
}

const schemas = generator();
const ajv = new Ajv({ strict: false, allErrors: true });
const validators = new Map();
let parts = 0;
let failed = 0;

/** Holds `value` against a type; a `partial` one may lack what has defaults. */
function check(where, type, value, partial = false) {
  if (!validators.has(type)) {
    validators.set(type, ajv.compile(schemas.createSchema(type)));
  }
  const validate = validators.get(type);
  const errors = validate(value) ? [] : validate.errors;
  const wrong = errors.filter(
    (error) => !(partial && error.keyword === "required") && !error.instancePath.startsWith(annotations),
  );
  for (const error of wrong) {
    console.error(`${where}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
  }
  parts += 1;
  failed += wrong.length > 0 ? 1 : 0;
}

function checkPanel(where, panel) {
  if (panel.type === "row") {
    check(where, "TheRow", { ...panel, panels: [] });
    panel.panels.forEach((inner) => checkPanel(`${where}/${inner.title}`, inner));
    return;
  }
  const { defaults, overrides } = panel.fieldConfig;
  const module = modules[panel.type];
  check(where, "ThePanel", panel);
  check(`${where}/options`, `${module}Options`, panel.options);
  check(`${where}/fieldConfig`, `${module}Field`, defaults.custom ?? {}, true);
  for (const { matcher, properties } of overrides) {
    for (const { id, value } of properties.filter(({ id }) => id.startsWith("custom."))) {
      check(`${where}/${matcher.options}`, `${module}Field`, { [id.slice("custom.".length)]: value }, true);
    }
  }
}

const { version } = JSON.parse(fs.readFileSync(path.join(types, "../../package.json"), "utf8"));
if (!fs.readFileSync("docker-compose.yml", "utf8").includes(`image: grafana/grafana:${version}@sha256:`)) {
  console.error(`docker-compose.yml has another Grafana than ${version}, whose schema this is`);
  failed += 1;
}
for (const file of fs.readdirSync("grafana/dashboards")) {
  const dashboard = JSON.parse(fs.readFileSync(path.join("grafana/dashboards", file), "utf8"));
  check(file, "TheDashboard", { ...dashboard, panels: [] });
  dashboard.panels.forEach((panel) => checkPanel(`${file}: ${panel.title}`, panel));
}
console.log(`${parts - failed} passed, ${failed} failed: parts of dashboards against Grafana ${version}`);
process.exitCode = failed > 0 ? 1 : 0;
