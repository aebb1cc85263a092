/** The JSON contract of doctor: its lines, and its codes. */

import { readdirSync, readFileSync } from 'node:fs'
import test from 'ava'
import { ROOT, records, tapferry } from '../support/cli.ts'
import { assertValid, isValid, SCHEMAS } from '../support/schema.ts'

/** Each with its line of documentation. */
const CODES = SCHEMAS.get('doctor')?.$defs?.['code']?.['oneOf'] as readonly {
  readonly const: string
  readonly description: string
}[]

function codesIn(path: string, pattern: RegExp): string[] {
  return [...readFileSync(`${ROOT}${path}`, 'utf8').matchAll(pattern)].map(([, code = '']) => code)
}

test('every line is in the schema, and none with a field more or less, or an unknown code', async t => {
  const { status, stdout } = await tapferry('doctor', '--json', '--in-netdev=no-such-netdev')
  t.is(status, 5)
  const lines = records(stdout)
  for (const line of lines) {
    assertValid(t, 'doctor', line)
    t.false(isValid('doctor', { ...line, surprise: 1 }))
    for (const field of Object.keys(line).filter(name => name !== 'fix' && name !== 'note')) {
      const { [field]: _, ...rest } = line
      t.false(isValid('doctor', rest), `a ${line['type']} without ${field}`)
    }
  }
  t.like(lines[0], { type: 'finding', code: 'NETDEV_NOT_FOUND', severity: 'error' })
  t.false(isValid('doctor', { ...lines[0], code: 'SURPRISE' }))
  t.false(isValid('doctor', { ...lines[0], severity: 'fatal' }))
})

test('wrong usage is an error of the same schema', async t => {
  const [line] = records((await tapferry('doctor', '--json', '--queue=up')).stdout)
  t.like(line, { type: 'error', code: 'USAGE' })
  assertValid(t, 'doctor', line)
})

test('every code that a check finds is in the schema, and so is every failure that it passes on', t => {
  const checks = readdirSync(`${ROOT}ts/doctor/checks`).map(file => `ts/doctor/checks/${file}`)
  const found = checks.flatMap(path => codesIn(path, /\b(?:error|warning|info|ok)\(\s*'([A-Z_]+)'/g))
  t.true(new Set(found).size > 35)
  const passedOn = ['ts/monitor/failures.ts', 'ts/netdev/failures.ts', 'ts/doctor/checks/missing.ts']
  const failures = passedOn.flatMap(path => codesIn(path, /'((?:MONITOR|QMP|NETDEV|NETNS)_[A-Z_]+)'/g))
  const known = CODES.map(({ const: code }) => code)
  t.deepEqual(
    [...new Set([...found, ...failures])].filter(code => !known.includes(code)),
    [],
  )
  const unheardOf = known.filter(code => !found.includes(code) && !failures.includes(code))
  const credentials = ['EXPIRED', 'INVALID', 'MISSING'].map(what => `TLS_CREDENTIALS_${what}`)
  t.deepEqual(unheardOf.sort(), ['INTERNAL', 'SYSTEM', ...credentials], "the core's, and that of a mistake")
})

test('every code is documented in one line, once', t => {
  t.is(new Set(CODES.map(({ const: code }) => code)).size, CODES.length)
  for (const { const: code, description } of CODES) {
    t.regex(description, /^[^\n]{10,110}\.$/, code)
  }
})
