/** The rehearsal: what it finds is what there is, and it changes nothing. */

import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { QmpSimulator } from '../../ts/monitor/simulator.ts'
import { type Finished, ROOT, Running, records, run, TAPFERRY } from '../support/cli.ts'
import { makeCredentials } from '../support/credentials.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { type Lab, labTest } from '../support/lab.ts'
import { assertValid, SCHEMAS } from '../support/schema.ts'
import { SimulatedVm } from '../support/simulated-vm.ts'

async function simulate(
  t: ExecutionContext,
  taps: string | readonly string[],
  uuid?: string,
): Promise<{ vm: QmpSimulator; directory: string }> {
  const directory = temporaryDirectory(t)
  const { simulator } = await SimulatedVm.start(t, join(directory, 'qmp'), taps, uuid)
  return { vm: simulator, directory }
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

/** By somebody with these capabilities and no others, as setpriv(1) takes them: `-all,+net_raw`. */
function checkWith(lab: Lab, capabilities: string, side: string, ...args: string[]): Promise<Finished> {
  const limited = ['setpriv', `--bounding-set=${capabilities}`, '--inh-caps=-all', '--']
  return run(...lab.inside(...limited, TAPFERRY, 'handover', 'check', side, '--json', ...args))
}

/** Nobody is waited for. */
const ALONE = '--meet=0'

labTest('at the source: what there is, and what is missing', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapA')
  await lab.ask('tap', { name: 'tapA' })
  const options = [ALONE, `--qmp=${vm.address}`, `--to=unix:${directory}/way`]
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

  const server = createServer(client => client.end('SSH-2.0-OpenSSH_9.2\r\n')).listen(join(directory, 'way'))
  t.teardown(() => {
    server.close()
  })
  const stranger = found(t, await check(lab, 'source', ...options))
  t.like(stranger['WAY'], { severity: 'ok' })
  t.like(stranger['PEER_FOREIGN'], { severity: 'error' })
  t.regex(String(stranger['PEER_FOREIGN']?.['message']), /an SSH banner/)
  vm.setStatus('inmigrate')
  const incoming = await check(lab, 'source', ...options)
  t.is(incoming.status, 4)
  t.like(found(t, incoming)['VM_NOT_RUNNING'], { severity: 'error' })
})

labTest('at the destination: the gate, and a place to listen at', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapB')
  vm.setStatus('inmigrate')
  await lab.ask('tap', { name: 'tapB' })
  const options = [ALONE, `--qmp=${vm.address}`, `--from=unix:${directory}/way`]
  const codes = found(t, await check(lab, 'dest', ...options))
  t.like(codes['WAY'], { severity: 'ok' })
  t.like(codes['MONITOR_READY'], { message: 'the VM waits to be migrated here' })
  t.true('GATE' in codes || 'GATE_DENIED' in codes)
  t.true('PRIORITY' in codes || 'PRIORITY_DENIED' in codes)
  t.false('CUT_INEXACT' in codes)
  t.deepEqual(await readdir(directory), ['qmp'])
})

/** Both sides of a rehearsal in two terminals, the destination first. */
async function rehearse(
  t: ExecutionContext,
  lab: Lab,
  { uuid, there: taps = ['tapB'] }: { uuid?: string; there?: readonly string[] } = {},
): Promise<[source: Finished, destination: Finished]> {
  const source = await simulate(t, 'tapA', uuid)
  const destination = await simulate(t, taps)
  destination.vm.setStatus('inmigrate')
  const way = `unix:${source.directory}/way`
  const command = [TAPFERRY, 'handover', 'check', 'dest', '--json', `--from=${way}`]
  const there = new Running(lab.inside(...command, `--qmp=${destination.vm.address}`))
  t.teardown(async () => {
    await there.stop('SIGKILL')
  })
  await there.line(/waiting up to 1 min 00 s at unix:.*: start tapferry handover check source there/)
  const here = await check(lab, 'source', `--qmp=${source.vm.address}`, `--to=${way}`)
  return [here, await there.end()]
}

labTest('two that rehearse compare what they have, and tell the same', async (t, lab) => {
  await lab.ask('tap', { name: 'tapA', mtu: 9000 })
  await lab.ask('tap', { name: 'tapB' })
  for (const end of await rehearse(t, lab)) {
    t.is(end.status, 0, end.stderr)
    const codes = found(t, end)
    t.like(codes['PEER_MET'], { severity: 'ok' })
    t.regex(
      String(codes['PEER_MET']?.['message']),
      /rehearses as well.*mtu \d+, no virtio header.*round trip.*clocks/,
    )
    t.like(codes['MTU_SMALLER'], { severity: 'warning' })
    t.regex(String(codes['MTU_SMALLER']?.['message']), /MTU of 9000, the destination's of 1500/)
  }
})

labTest('another VM is an error on both sides', async (t, lab) => {
  for (const name of ['tapA', 'tapB']) await lab.ask('tap', { name })
  const uuid = '11111111-0000-4000-8000-123456789abc'
  for (const end of await rehearse(t, lab, { uuid })) {
    t.is(end.status, 1, end.stderr)
    t.like(found(t, end)['OTHER_VM'], { severity: 'error' })
  }
})

labTest('a netdev that the source does not come for is told of at the destination', async (t, lab) => {
  for (const name of ['tapA', 'tapB', 'tapC']) await lab.ask('tap', { name })
  const [source, destination] = await rehearse(t, lab, { there: ['tapB', 'tapC'] })
  t.is(destination.status, 0, destination.stderr)
  t.like(found(t, destination)['NETDEV_UNASKED'], { severity: 'warning', about: 'netdev hn1 (tapC)' })
  t.false('NETDEV_UNASKED' in found(t, source))
})

labTest('with TLS each side looks at its credentials, and then at those of the other', async (t, lab) => {
  const [a, b] = [await simulate(t, 'tapA'), await simulate(t, 'tapB')]
  b.vm.setStatus('inmigrate')
  for (const name of ['tapA', 'tapB']) await lab.ask('tap', { name })
  const ours = await makeCredentials(join(a.directory, 'tls'))
  const foreign = await makeCredentials(join(b.directory, 'tls'))
  const source = [`--qmp=${a.vm.address}`, '--to=tcp:localhost:4000']
  const dest = [`--qmp=${b.vm.address}`, '--from=tcp:localhost:4000']
  const missing = await check(lab, 'dest', ALONE, ...dest, `--tls-creds=${a.directory}`)
  t.is(missing.status, 2)
  t.like(found(t, missing)['TLS_CREDENTIALS_MISSING'], { severity: 'error' })
  const waiting = new Running(
    lab.inside(TAPFERRY, 'handover', 'check', 'dest', '--json', ...dest, `--tls-creds=${ours}`),
  )
  t.teardown(async () => {
    await waiting.stop('SIGKILL')
  })
  const visit = async (credentials: string) =>
    found(t, await check(lab, 'source', '--meet=10s', ...source, `--tls-creds=${credentials}`))
  const refused = await visit(foreign)
  t.like(refused['TLS_UNKNOWN_CA'], { severity: 'error' })
  t.true('TLS_READY' in refused || 'TLS_KEY_EXPOSED' in refused)
  const met = await visit(ours)
  for (const side of [met, found(t, await waiting.end())]) t.like(side['PEER_MET'], { severity: 'ok' })
})

labTest('an armed destination is looked at, and says no word of it', async (t, lab) => {
  const [source, destination] = [await simulate(t, 'tapA'), await simulate(t, 'tapB')]
  destination.vm.setStatus('inmigrate')
  for (const name of ['tapA', 'tapB']) await lab.ask('tap', { name })
  const way = `unix:${source.directory}/way`
  const dest = [TAPFERRY, 'handover', 'dest', `--from=${way}`, `--qmp=${destination.vm.address}`]
  const armed = new Running(lab.inside(...dest))
  t.teardown(async () => {
    await armed.stop('SIGKILL')
  })
  await armed.ready()
  const before = armed.stderr
  const end = await check(lab, 'source', `--qmp=${source.vm.address}`, `--to=${way}`)
  t.is(end.status, 0, end.stderr)
  t.regex(String(found(t, end)['PEER_MET']?.['message']), /, armed, has it as hn0/)
  t.is(armed.stderr, before)
  const taken = await check(lab, 'dest', `--qmp=${source.vm.address}`, `--from=${way}`)
  t.like(found(t, taken)['STREAM_IN_USE'], { severity: 'error' })
})

labTest('a destination that waits in vain says that nothing was compared', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapB')
  vm.setStatus('inmigrate')
  await lab.ask('tap', { name: 'tapB' })
  const end = await check(lab, 'dest', '--meet=300ms', `--qmp=${vm.address}`, `--from=unix:${directory}/way`)
  t.is(end.status, 0, end.stderr)
  t.like(found(t, end)['NOBODY_CAME'], { severity: 'warning' })
})

labTest('without privileges each missing one says what it costs', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapA')
  await lab.ask('tap', { name: 'tapA' })
  const options = [ALONE, `--qmp=${vm.address}`, `--to=unix:${directory}/way`]
  const end = await checkWith(lab, '-all', 'source', ...options)
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

labTest('with CAP_NET_RAW alone frames are late, and may be overtaken', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapA')
  await lab.ask('tap', { name: 'tapA' })
  const options = [ALONE, `--qmp=${vm.address}`, `--to=unix:${directory}/way`]
  const codes = found(t, await checkWith(lab, '-all,+net_raw', 'source', ...options))
  for (const code of ['CAPTURE_DELAYED', 'PRIORITY_DENIED']) t.is(codes[code]?.['severity'], 'info', code)
})

labTest('at the destination without privileges, too', async (t, lab) => {
  const { vm, directory } = await simulate(t, 'tapB')
  vm.setStatus('inmigrate')
  await lab.ask('tap', { name: 'tapB' })
  const options = [ALONE, `--qmp=${vm.address}`, `--from=unix:${directory}/way`]
  t.like(found(t, await check(lab, 'dest', ...options))['QUEUE_LENGTH'], { severity: 'ok' })
  const codes = found(t, await checkWith(lab, '-all', 'dest', ...options))
  t.like(codes['QUEUE_LENGTH_LIMITED'], { severity: 'warning' })
  t.like(codes['GATE_DENIED'], { severity: 'warning' })
})

test('every code that is found is in the schema', async t => {
  const read = (path: string): Promise<string> => readFile(`${ROOT}${path}`, 'utf8')
  const ours = (await read('ts/handover/check/checks.ts')) + (await read('ts/handover/check/compared.ts'))
  const codes = [...ours.matchAll(/\b(?:error|warning|info|ok)\(\s*'([A-Z_]+)'/g)].map(([, code]) => code)
  const core =
    (await read('crates/handover/src/compare.rs')) + (await read('crates/handover/src/rehearsal.rs'))
  const tls = (await read('crates/tls/src/error.rs')) + (await read('crates/tls/src/failure.rs'))
  const failures = [...tls.matchAll(/=> "(TLS_[A-Z_]+)"/g)].map(([, code]) => code)
  const credentials = await read('ts/doctor/checks/credentials.ts')
  const files = [...credentials.matchAll(/'(TLS_[A-Z_]+)'/g)].map(([, code]) => code)
  const differences = [...core.matchAll(/(?:code: |\(|=> \{?\s*\()"([a-z]+_[a-z_]+)"/g)].map(
    ([, code]) => code,
  )
  t.true(codes.length > 20)
  t.true(failures.length > 10)
  t.is(files.length, 3)
  t.true(differences.length >= 10)
  const defined = SCHEMAS.get('handover-check')?.$defs?.['code']?.['oneOf'] as { const: string }[]
  const known = defined.map(({ const: code }) => code)
  t.deepEqual(
    [...codes, ...failures, ...files, ...differences.map(code => code?.toUpperCase())].filter(
      code => !known.includes(String(code)),
    ),
    [],
  )
})
