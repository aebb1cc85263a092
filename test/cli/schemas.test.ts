/** The JSON contract: what tapferry really prints is what schemas/ say, and nothing else. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { QmpSimulator } from '../../ts/monitor/simulator.ts'
import { ROOT, Running, records, run, TAPFERRY, tapferry } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { labTest } from '../support/lab.ts'
import { assertValid, isValid, SCHEMAS, type Schema } from '../support/schema.ts'

type Line = Record<string, unknown>

const ENDS = ['--in-netdev=tapA', '--out-netdev=tapB']

/** Every schema inside a schema, itself included. */
function* parts(schema: unknown): Generator<Schema> {
  if (typeof schema !== 'object' || schema === null) return
  yield schema as Schema
  for (const part of Object.values(schema)) yield* parts(part)
}

/** A field or type more is refused, and so is a field less. */
function assertClosed(t: ExecutionContext, schema: string, line: Line): void {
  t.false(isValid(schema, { ...line, surprise: 1 }), `a ${line['type']} with an unknown field`)
  t.false(isValid(schema, { ...line, type: 'surprise' }), 'an unknown type')
  const { time: _, ...timeless } = line
  t.false(isValid(schema, timeless), `a ${line['type']} without a time`)
}

for (const [name, schema] of SCHEMAS) {
  test(`${name}.schema.json is named after its file, and describes each of its fields`, t => {
    t.is(schema.$id, `${name}.schema.json`)
    for (const { properties = {} } of parts(schema)) {
      for (const [field, about] of Object.entries(properties)) {
        const described = ['description', 'const', '$ref'].some(keyword => keyword in about)
        t.true(described || field === 'event', `${field} has no description`)
      }
    }
  })

  test(`${name}.schema.json leaves no object open`, t => {
    const lines = [...parts(schema)].filter(({ properties }) => properties?.['type'] !== undefined)
    const open = lines.filter(line => {
      return line['additionalProperties'] !== false && line['unevaluatedProperties'] !== false
    })
    t.deepEqual(open, [])
  })
}

test('every event of the core is in the schema', async t => {
  const source = await readFile(`${ROOT}crates/node/src/event.rs`, 'utf8')
  const events = [...source.matchAll(/EventKind::\w+ => "(\w+)"/g)].map(([, name]) => name)
  t.true(events.length > 10)
  const known = [...parts(SCHEMAS.get('run'))].flatMap(part => (part['enum'] as string[]) ?? [])
  t.deepEqual(
    events.filter(name => name !== 'ready' && !known.includes(String(name))),
    [],
  )
})

test('--version --json', async t => {
  const { status, stdout } = await tapferry('--version', '--json')
  t.is(status, 0)
  const [line = {}, ...more] = records(stdout)
  t.deepEqual(more, [])
  assertValid(t, 'version', line)
  assertClosed(t, 'version', line)
})

for (const options of [
  ENDS,
  [...ENDS, '--qmp=vm.qmp', '--only-when-stopped', '--queue=all', '--latency=low', '--status=off'],
  [...ENDS, '--netns=vm1', '--out-netns=/run/netns/vm2'],
  [
    ...ENDS,
    '--duration=10s',
    '--count=5',
    '--wait',
    '--stats-interval=1',
    '--pre-roll=0',
    '--mark=0xffffffff',
  ],
  [...ENDS, '--hold=until-running', '--qmp=vm.qmp', '--buffer=1G', '--buffer-frames=1', '--drop=oldest'],
  [
    '--in-netdev=tapA',
    '--outdev=unix:/run/a',
    '--vnet-hdr-support',
    '--vnet-hdr-len=0',
    '--offloads=complete',
  ],
  ['--indev=tcp:[::1]:4000,server', '--out-netdev=tapB', '--out-netns=blue', '--hold=5'],
  ['--indev=fd:3', '--outdev=fd:3'],
]) {
  test(`a plan: ${options.join(' ')}`, async t => {
    const [plan = {}] = records((await tapferry('run', '--dry-run', '--json', ...options)).stdout)
    t.is(plan['type'], 'plan')
    assertValid(t, 'run', plan)
    assertClosed(t, 'run', plan)
  })
}

const failing: readonly (readonly [code: string, command: readonly string[], env?: NodeJS.ProcessEnv])[] = [
  ['USAGE', ['run', '--queue=up']],
  ['MONITOR_ADDRESS_INVALID', ['run', ...ENDS, '--qmp=localhost:0']],
  ['MONITOR_NOT_FOUND', ['run', ...ENDS, '--qmp=/nowhere/vm.qmp']],
  ['ADDON_BROKEN', ['run', ...ENDS], { NAPI_RS_NATIVE_LIBRARY_PATH: '/nowhere.node' }],
  ['NETDEV_NAME_INVALID', ['run', '--in-netdev=a-name-of-qemu-netdev', '--out-netdev=tapB']],
]

for (const [code, command, env = {}] of failing) {
  test(`an error: ${code}`, async t => {
    const [error = {}] = records((await run(TAPFERRY, [...command, '--json'], { env })).stdout)
    t.like(error, { type: 'error', code })
    for (const name of ['run', 'version']) {
      assertValid(t, name, error)
      assertClosed(t, name, error)
    }
  })
}

labTest('a whole run: every type of line and nearly every event', async (t, lab) => {
  const directory = temporaryDirectory(t)
  const vm = await QmpSimulator.listen({ address: join(directory, 'qmp') })
  t.teardown(() => vm.close())
  await lab.ask('tap', { name: 'tapA' })
  await lab.ask('tap', { name: 'tapB' })
  const options = [`--qmp=${vm.address}`, '--json', '--stats-interval=200ms', '--count=15']
  const running = new Running(lab.inside(TAPFERRY, 'run', ...ENDS, ...options))
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  await running.ready()

  // Longer than out_netdev's MTU: a drop with a warning.
  await lab.ask('link', { name: 'tapB', mtu: 1000 })
  await lab.ask('send', { netdev: 'tapA', count: 1, size: 1500 })
  await running.line(/"warning"/)
  await lab.ask('send', { netdev: 'tapA', count: 10 })
  vm.emit('MIGRATION', { status: 'active' })
  await running.line(/"vm_event"/)
  vm.stopVm()
  await running.line(/"gate_closed"/)
  vm.resumeVm()
  await running.line(/"gate_opened"/)
  vm.dropClient()
  await running.line(/"monitor_regained"/)
  for (const [name, role] of [
    ['tapA', 'input'],
    ['tapB', 'output'],
  ] as const) {
    await lab.ask('link', { name, up: false })
    await running.line(new RegExp(`"${role}_down"`))
    await lab.ask('link', { name, up: true })
    await running.line(new RegExp(`"${role}_up"`))
    await lab.ask('tap-delete', { name })
    await running.line(new RegExp(`"${role}_missing"`))
    await lab.ask('tap', { name })
    await running.line(new RegExp(`"${role}_back"`))
  }
  await running.line(/"type":"statistics"/)
  await lab.ask('send', { netdev: 'tapA', count: 20 })
  const finished = await running.end()
  t.is(finished.status, 0, finished.stderr)

  const lines = records(finished.stdout)
  for (const line of lines) assertValid(t, 'run', line)
  const firstOf = new Map(lines.map(line => [`${line['type']} ${line['event'] ?? ''}`, line]))
  for (const line of firstOf.values()) assertClosed(t, 'run', line)
  t.deepEqual([...new Set(lines.map(({ type }) => String(type)))].sort(), [
    'event',
    'ready',
    'statistics',
    'summary',
  ])
  const expected = ['warning', 'vm_event', 'run_state', 'monitor_lost', 'count_reached']
  for (const event of expected) t.true(firstOf.has(`event ${event}`), event)

  // Reasons are required and no other field is allowed, so these are the core's reasons, all of them.
  const summary = lines.at(-1) ?? {}
  t.like(summary, { type: 'summary', end: 'count', forwarded: 15, dropped_too_long: 1 })
  const reasons = Object.keys(summary).filter(field => field.startsWith('dropped_'))
  const required = (SCHEMAS.get('run')?.$defs?.['counters']?.['required'] as string[]) ?? []
  t.deepEqual(reasons.sort(), required.filter(field => field.startsWith('dropped_')).sort())
})

labTest('a run that waits for an interface', async (t, lab) => {
  await lab.ask('tap', { name: 'tapA' })
  const running = new Running(lab.inside(TAPFERRY, 'run', ...ENDS, '--wait', '--json'))
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  await running.line(/"waiting"/)
  const lines = records((await running.stop()).stdout)
  for (const line of lines) assertValid(t, 'run', line)
  t.like(lines[0], { event: 'waiting', netdev: 'tapB' })
  t.like(lines.at(-1), { type: 'summary', end: 'stopped' })
})

labTest('errors of the interfaces and of a missing privilege', async (t, lab) => {
  const refused = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--']
  const [notFound] = records((await run(...lab.inside(TAPFERRY, 'run', ...ENDS, '--json'))).stdout)
  await lab.ask('tap', { name: 'tapA' })
  await lab.ask('tap', { name: 'tapB' })
  const inside = lab.inside(...refused, TAPFERRY, 'run', ...ENDS, '--json')
  const [permission] = records((await run(...inside)).stdout)
  t.like(notFound, { code: 'NETDEV_NOT_FOUND', exit_status: 5 })
  t.like(permission, { code: 'PERMISSION', exit_status: 3 })
  for (const error of [notFound, permission]) assertValid(t, 'run', error)
})
