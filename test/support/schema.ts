/** The JSON contract: schemas/NAME.schema.json describes one line of a command's `--json`. */

import { readdirSync, readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import type { ExecutionContext } from 'ava'
import { ROOT } from './cli.ts'

const DIRECTORY = `${ROOT}schemas/`

export interface Schema {
  $id: string
  $defs?: Record<string, Schema>
  properties?: Record<string, Schema>
  [keyword: string]: unknown
}

/** All of them, by name: `run`, `version` ... */
export const SCHEMAS: ReadonlyMap<string, Schema> = new Map(
  readdirSync(DIRECTORY).map(file => {
    const schema = JSON.parse(readFileSync(DIRECTORY + file, 'utf8')) as Schema
    return [file.slice(0, -'.schema.json'.length), schema]
  }),
)

/** Strict: a keyword that means nothing, or a type that cannot be, is an error of the schema. */
const ajv = new Ajv2020({ allErrors: true, strict: true, schemas: [...SCHEMAS.values()] })

function validator(name: string): ValidateFunction {
  const validate = ajv.getSchema(`${name}.schema.json`)
  if (validate === undefined) throw new Error(`no schema '${name}' in schemas/`)
  return validate
}

/** Fails the test unless the line is what the schema says, with no field that it does not know. */
export function assertValid(t: ExecutionContext, name: string, line: unknown): void {
  t.true(
    isValid(name, line),
    `${JSON.stringify(line)}\nis not in ${name}.schema.json:\n${reasons(name, line)}`,
  )
}

/** What is wrong with a line of its type; against all types, every one of them has its complaints. */
function reasons(name: string, line: unknown): string {
  const { type } = (line ?? {}) as { type?: unknown }
  const validate = ajv.getSchema(`${name}.schema.json#/$defs/${type}`) ?? validator(name)
  validate(line)
  return ajv.errorsText(validate.errors, { separator: '\n' })
}

export function isValid(name: string, line: unknown): boolean {
  return validator(name)(line)
}
