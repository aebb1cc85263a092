/** The rehearsal: what it finds is what there is, and it changes nothing. */

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { QmpSimulator } from '../../ts/monitor/simulator.ts'
import { type Finished, ROOT, records, run, TAPFERRY } from '../support/cli.ts'
import { type Lab, labTest } from '../support/lab.ts'
import { assertValid, SCHEMAS } from '../support/schema.ts'

async function simulate(t: ExecutionContext, tap: string): Promise<{ vm: QmpSimulator; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'tapferry-check-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const infoNetwork = `hn0: index=0,type=tap,ifname=${tap},script=no,downscript=no\r\n`
  const vm = await QmpSimulator.listen({ address: join(directory, 'qmp'), infoNetwork })
  t.teardown(() => vm.close())
  return { vm, directory }
}

/** The findings by their codes. */
function found(t: ExecutionContext, { stdout, stderr }: Finished): Record<string, Record<string, unknown>> {
  const lines = records(stdout)
  for (const line of lines) assertValid(t, 'handover-check', line)
  t.is(lines.at(-1)?.['type'], 'diagnosis', stderr)
  return Object.fromEntries(lines.slice(0, -1).map(line => [String(line['code']), line]))
}

function check(lab: Lab, side: string, ...args: string[]): Promise<Finished> {
  return run(...lab.inside(TAPFERRY, 'handover', 'check', side, '--json', ...args))
}

labTest('at the source: what there is, and what is missing', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapA')
  await lab.ask('tap', { name: 'tapA' })
  const options = [`--qmp=${vm.address}`, `--to=unix:${directory}/way`]
  const first = await check(lab, 'source', ...options)
  t.is(first.status, 0, first.stderr)
  const codes = found(t, first)
  for (const code of ['CAPTURE_ALLOWED', 'MONITOR_READY', 'NETDEV_READY', 'HOLD']) {
    t.is(codes[code]?.['severity'], 'ok', code)
  }
  t.false('QUEUE_LENGTH' in codes, 'it leaves the queue of a TAP in use alone')
  t.like(codes['WAY_REFUSED'], { severity: 'warning' })
  t.regex(String(codes['CUT_INEXACT']?.['message']), /x-query-virtio.*up to 2 frames may be lost/)
  t.is((await check(lab, 'source', ...options, '--strict')).status, 1)

  const server = createServer().listen({ path: join(directory, 'way') })
  t.teardown(() => {
    server.close()
  })
  t.like(found(t, await check(lab, 'source', ...options))['WAY'], { severity: 'ok' })
  vm.setStatus('inmigrate')
  const incoming = await check(lab, 'source', ...options)
  t.is(incoming.status, 4)
  t.like(found(t, incoming)['VM_NOT_RUNNING'], { severity: 'error' })
})

labTest('at the destination: the gate, and a place to listen at', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapB')
  vm.setStatus('inmigrate')
  await lab.ask('tap', { name: 'tapB' })
  const options = [`--qmp=${vm.address}`, `--from=unix:${directory}/way`]
  const codes = found(t, await check(lab, 'dest', ...options))
  t.like(codes['WAY'], { severity: 'ok' })
  t.like(codes['MONITOR_READY'], { message: 'the VM waits to be migrated here' })
  t.true('GATE' in codes || 'GATE_DENIED' in codes)
  t.false('CUT_INEXACT' in codes)
  t.deepEqual(await readdir(directory), ['qmp'])
})

labTest('without privileges each missing one says what it costs', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapA')
  await lab.ask('tap', { name: 'tapA' })
  const powerless = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--']
  const command = [TAPFERRY, 'handover', 'check', 'source', '--json']
  const options = [`--qmp=${vm.address}`, `--to=unix:${directory}/way`]
  const end = await run(...lab.inside(...powerless, ...command, ...options))
  t.is(end.status, 3, end.stderr)
  const codes = found(t, end)
  for (const [code, severity] of [
    ['CAPTURE_DENIED', 'error'],
    ['TAP_NOT_HELD', 'warning'],
    ['CUT_INEXACT', 'warning'],
  ] as const) {
    t.is(codes[code]?.['severity'], severity, code)
  }
})

labTest('at the destination without privileges, too', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapB')
  vm.setStatus('inmigrate')
  await lab.ask('tap', { name: 'tapB' })
  const options = [`--qmp=${vm.address}`, `--from=unix:${directory}/way`]
  t.like(found(t, await check(lab, 'dest', ...options))['QUEUE_LENGTH'], { severity: 'ok' })
  const powerless = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--']
  const command = [TAPFERRY, 'handover', 'check', 'dest', '--json']
  const codes = found(t, await run(...lab.inside(...powerless, ...command, ...options)))
  t.like(codes['QUEUE_LENGTH_LIMITED'], { severity: 'warning' })
  t.like(codes['GATE_DENIED'], { severity: 'warning' })
})

test('every code that is found is in the schema', async t => {
  const source = await readFile(`${ROOT}ts/handover/check/checks.ts`, 'utf8')
  const codes = [...source.matchAll(/\b(?:error|warning|info|ok)\(\s*'([A-Z_]+)'/g)].map(([, code]) => code)
  t.true(codes.length > 20)
  const defined = SCHEMAS.get('handover-check')?.$defs?.['code']?.['oneOf'] as { const: string }[]
  const known = defined.map(({ const: code }) => code)
  t.deepEqual(
    codes.filter(code => !known.includes(String(code))),
    [],
  )
})
