/** The report's contract: schemas/handover.schema.json knows every field of a report, and none beside them. */

import { readFile } from 'node:fs/promises'
import test from 'ava'
import { ROOT } from '../support/cli.ts'
import { assertValid, isValid, SCHEMAS } from '../support/schema.ts'
import { SAMPLES } from './samples.ts'

type Json = Record<string, unknown>

/** Every object inside a report, itself included; of a list, its first one. */
function* objects(value: unknown): Generator<Json> {
  if (Array.isArray(value)) yield* objects(value[0])
  else if (typeof value === 'object' && value !== null) {
    yield value as Json
    for (const part of Object.values(value)) yield* objects(part)
  }
}

for (const [name, sample] of Object.entries(SAMPLES)) {
  for (const report of Object.values(sample)) {
    test(`a report is as its schema says: ${name}, ${report.side}`, t => {
      assertValid(t, 'handover', report)
    })

    test(`no field may be more or less in a report: ${name}, ${report.side}`, t => {
      const copy = structuredClone(report)
      for (const object of objects(copy)) {
        object['surprise'] = 1
        t.false(isValid('handover', copy), `an unknown field beside ${Object.keys(object)}`)
        delete object['surprise']
        for (const field of Object.keys(object)) {
          const kept = object[field]
          delete object[field]
          t.false(isValid('handover', copy), `${field} is missing`)
          object[field] = kept
        }
      }
      t.true(isValid('handover', copy))
    })
  }
}

test('the fields of one side are not those of the other', t => {
  const { source, destination } = SAMPLES['done'] ?? {}
  t.false(isValid('handover', { ...source, side: 'destination' }))
  t.false(isValid('handover', { ...destination, side: 'source' }))
})

test('a report of another version is another thing', t => {
  t.false(isValid('handover', { ...SAMPLES['done']?.source, version: 2 }))
})

test('every counter of the core is in the report', async t => {
  const core = await readFile(`${ROOT}crates/handover/src/report.rs`, 'utf8')
  for (const [struct, netdev] of [
    ['SourceReport', 'source_netdev'],
    ['DestinationReport', 'destination_netdev'],
  ] as const) {
    const body = new RegExp(`pub struct ${struct} \\{(.*?)\\n\\}`, 's').exec(core)?.[1] ?? ''
    const counters = [...body.matchAll(/pub (\w+): u64/g)].map(([, name]) => String(name))
    const known = Object.keys(SCHEMAS.get('handover')?.$defs?.[netdev]?.properties ?? {})
    t.true(counters.length > 8)
    t.deepEqual(
      counters.filter(name => !name.endsWith('_ns') && !known.includes(name)),
      [],
    )
  }
})
