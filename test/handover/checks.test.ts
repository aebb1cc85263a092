/** What a rehearsal makes of facts; they are made up, one changed at a time. */

import test from 'ava'
import type { HandoverDifference } from '../../ts/binding.ts'
import type { Finding } from '../../ts/doctor/finding.ts'
import { checkRehearsal } from '../../ts/handover/check/checks.ts'
import type { NetdevFacts, RehearsalFacts } from '../../ts/handover/check/facts.ts'
import type { HandoverPlan } from '../../ts/handover/plan.ts'
import { facts as host, netdev as link, monitor } from '../doctor/facts.ts'

const PLAN: HandoverPlan = {
  ...{ side: 'source', netdevs: [], netns: undefined, monitor: '/run/vm.qmp', tlsCreds: undefined },
  address: { kind: 'unix', path: '/run/way' },
  ...{ maxHoldBytes: 256 * 1024 ** 2, resumeTimeoutMs: 60_000, mark: 0x3074 },
  ...{ wait: false, persistent: false, reportFile: undefined },
}

const NETDEV: NetdevFacts = {
  netdev: { id: 'hn0', interface: 'tapA', title: 'hn0 (tapA)' },
  facts: link('tapA'),
  queue: undefined,
}

/** A source for which all is well; its other side is not looked for. */
function source(changes: Partial<RehearsalFacts> = {}): RehearsalFacts {
  return {
    ...{ plan: PLAN, process: host().process, memoryAvailable: 4 * 1024 ** 3 },
    ...{ monitor: monitor('/run/vm.qmp'), problem: undefined, netdevs: [NETDEV] },
    vmProcess: { pid: 4711, readable: true, descriptors: true },
    ...{ gate: 'tcx', goesFirst: true, credentials: undefined, now: 0, meeting: undefined, patienceMs: 0 },
    ...changes,
  }
}

function found(changes: Partial<RehearsalFacts>): Record<string, Finding> {
  return Object.fromEntries(checkRehearsal(source(changes)).map(finding => [finding.code, finding]))
}

test('where all is well, all is said to be', t => {
  const findings = found({})
  t.true(Object.values(findings).every(({ severity }) => severity === 'ok'))
  for (const code of [
    'CAPTURE_ALLOWED',
    'MONITOR_READY',
    'NETDEV_READY',
    'TAP_HELD',
    'CUT_EXACT',
    'PRIORITY',
  ]) {
    t.true(code in findings, code)
  }
})

test('a TAP that is down is set up', t => {
  const { NETDEV_DOWN } = found({ netdevs: [{ ...NETDEV, facts: link('tapA', { up: false }) }] })
  t.like(NETDEV_DOWN, { severity: 'warning', about: 'netdev hn0 (tapA)', fix: 'ip link set tapA up' })
})

test('a VM that is paused is no fault', t => {
  const { VM_PAUSED } = found({ monitor: monitor('/run/vm.qmp', { running: false, status: 'paused' }) })
  t.like(VM_PAUSED, { severity: 'info' })
  t.regex(VM_PAUSED?.message ?? '', /^the VM is paused: what reaches it meanwhile waits/)
})

test('more than there is memory for is not to be held', t => {
  const { HOLD, HOLD_BEYOND_MEMORY } = found({ memoryAvailable: 100 * 1024 ** 2 })
  t.is(HOLD, undefined)
  t.like(HOLD_BEYOND_MEMORY, { severity: 'warning', note: 'give a smaller --max-hold, or make room' })
})

test('why the cut is not exact is said, and what would make it so where that is known', t => {
  const packed = found({ netdevs: [{ ...NETDEV, queue: { whyNoRing: 'its ring is packed' } }] })
  t.regex(packed['CUT_INEXACT']?.message ?? '', /^its ring is packed: /)
  t.is(packed['CUT_INEXACT']?.note, undefined)
  const closed = found({ vmProcess: { pid: 4711, readable: false, descriptors: true } })
  t.regex(closed['CUT_INEXACT']?.message ?? '', /^the VM's memory may not be read: /)
  t.regex(closed['CUT_INEXACT']?.note ?? '', /CAP_SYS_PTRACE/)
})

/** At the destination, where somebody came of whom no more is known than what was wrong. */
function met(code: string, weight: HandoverDifference['weight']): Record<string, Finding> {
  const differences = [{ code, weight, message: 'as it was', advice: 'as it says' }]
  return found({
    plan: { ...PLAN, side: 'destination' },
    meeting: { encounters: [{ differences }], problem: undefined },
    patienceMs: 60_000,
  })
}

test('a stranger is noted, and is not the source', t => {
  const { TLS_PLAIN_PEER, NOBODY_CAME, NETDEV_UNASKED } = met('TLS_PLAIN_PEER', 'note')
  t.like(TLS_PLAIN_PEER, { severity: 'info', message: 'as it was', note: 'as it says' })
  t.like(NOBODY_CAME, { severity: 'warning' })
  t.is(NETDEV_UNASKED, undefined)
})

test('a tapferry that is not understood has come, for whatever netdev', t => {
  const { PEER_VERSION, NOBODY_CAME, NETDEV_UNASKED } = met('peer_version', 'fault')
  t.like(PEER_VERSION, { severity: 'error' })
  t.deepEqual([NOBODY_CAME, NETDEV_UNASKED], [undefined, undefined])
})
