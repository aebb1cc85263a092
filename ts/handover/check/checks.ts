/** What a handover would meet: facts -> findings, the gravest of each kind first. Pure. */

import { checkDirectory } from '../../doctor/checks/credentials.ts'
import { error, type Finding, failure, info, noteOf, ok, warning } from '../../doctor/finding.ts'
import { ExitStatus } from '../../errors.ts'
import { quote } from '../../options/words.ts'
import { formatBytes } from '../../output/format.ts'
import { formatStreamAddress, isLoopback } from '../../stream/address.ts'
import { RAISED_QUEUE_LENGTH } from '../leftovers.ts'
import { checkCounterpart } from './compared.ts'
import type { NetdevFacts, RehearsalFacts } from './facts.ts'

const CHECKS: readonly ((facts: RehearsalFacts) => Finding[])[] = [
  checkCapture,
  checkMonitor,
  checkNetdevs,
  checkQueueLength,
  checkHeldTap,
  checkCut,
  checkGate,
  checkPriority,
  checkSecurity,
  checkCounterpart,
  checkHold,
]

export function checkRehearsal(facts: RehearsalFacts): Finding[] {
  return CHECKS.flatMap(check => check(facts))
}

const PRIVILEGES = 'privileges'

function checkCapture({ process, plan }: RehearsalFacts): Finding[] {
  const what = plan.side === 'source' ? 'captured' : 'injected'
  const refused = (privilege: string) =>
    process.probes.find(probe => probe.what === privilege && !probe.allowed)
  const denied = refused('packet_socket')
  if (denied === undefined) {
    const findings = [ok('CAPTURE_ALLOWED', PRIVILEGES, `frames can be ${what}`)]
    if (plan.side === 'source' && refused('receive_buffer') !== undefined) {
      findings.push(
        info(
          'CAPTURE_DELAYED',
          PRIVILEGES,
          'frames are captured by a timer, up to 4 ms late, and may be overtaken',
          {
            note: 'it takes CAP_NET_ADMIN, or net.core.rmem_max of 33554432 (32 MiB)',
          },
        ),
      )
    }
    return findings
  }
  return [
    error(
      'CAPTURE_DENIED',
      ExitStatus.Permission,
      PRIVILEGES,
      `no frame can be ${what}: the kernel refuses a packet socket (${denied.errno})`,
      { note: 'it takes CAP_NET_RAW: run it as root' },
    ),
  ]
}

function checkMonitor({ monitor, plan }: RehearsalFacts): Finding[] {
  if (monitor === undefined) return []
  const about = `monitor ${monitor.address}`
  if (monitor.problem !== undefined) return [failure(about, monitor.problem)]
  const findings: Finding[] = []
  if (!monitor.local) {
    findings.push(
      warning('MONITOR_REMOTE', about, "it is another host's: neither the VM's TAPs nor its clock are here", {
        note: "run it on the VM's host",
      }),
    )
  }
  return [...findings, stateOf(about, monitor.status, plan.side === 'source')]
}

function stateOf(about: string, status: string, isSource: boolean): Finding {
  if (!isSource) {
    if (status === 'inmigrate') return ok('MONITOR_READY', about, 'the VM waits to be migrated here')
    return error(
      'VM_NOT_INCOMING',
      ExitStatus.Monitor,
      about,
      `the VM does not wait for a migration: it is ${status}`,
      {
        note: 'start QEMU here with -incoming, for example -incoming defer',
      },
    )
  }
  if (status === 'inmigrate' || status === 'postmigrate') {
    const why = status === 'inmigrate' ? 'it waits to be migrated here' : 'it was migrated from here'
    return error('VM_NOT_RUNNING', ExitStatus.Monitor, about, `the VM does not run here: ${why}`)
  }
  if (status !== 'running') {
    return info('VM_PAUSED', about, `the VM is ${status}: what reaches it meanwhile waits in its TAP's queue`)
  }
  return ok('MONITOR_READY', about, 'it answers: the VM runs')
}

function checkNetdevs({ problem, netdevs }: RehearsalFacts): Finding[] {
  if (problem !== undefined) return [failure('netdevs', problem)]
  return netdevs.flatMap(checkNetdev)
}

function checkNetdev({ netdev, facts }: NetdevFacts): Finding[] {
  const about = `netdev ${netdev.title}`
  if (facts === undefined) {
    return [
      error('NETDEV_NOT_FOUND', ExitStatus.Interface, about, 'its TAP cannot be looked at from here', {
        note: 'run it as root, or name its network namespace: --netns',
      }),
    ]
  }
  if (!facts.up) {
    return [
      warning('NETDEV_DOWN', about, 'its TAP is down: no frame passes', {
        fix: `ip link set ${quote(facts.name)} up`,
      }),
    ]
  }
  const offloads = facts.tun?.vnetHeader ? 'with offloads' : 'without offloads'
  return [ok('NETDEV_READY', about, `mtu ${facts.mtu}, ${offloads}, which the other side must have as well`)]
}

function checkQueueLength({ process, netdevs, plan }: RehearsalFacts): Finding[] {
  // The source leaves the queue of a TAP in use alone.
  if (plan.side === 'source') return []
  const short = netdevs.filter(
    ({ facts }) => facts !== undefined && facts.txQueueLength < RAISED_QUEUE_LENGTH,
  )
  if (short.length === 0) return []
  if (process.capabilities.has('net_admin')) {
    return [ok('QUEUE_LENGTH', PRIVILEGES, "the TAPs' queues can be made longer for the handover")]
  }
  return short.map(({ netdev, facts }) =>
    warning(
      'QUEUE_LENGTH_LIMITED',
      `netdev ${netdev.title}`,
      `without CAP_NET_ADMIN its TAP's queue stays at ${facts?.txQueueLength} frames: what finds no room before the VM runs comes to it late`,
      { fix: `ip link set ${quote(netdev.interface)} txqueuelen ${RAISED_QUEUE_LENGTH}` },
    ),
  )
}

function checkHeldTap({ plan, vmProcess }: RehearsalFacts): Finding[] {
  if (plan.side !== 'source') return []
  if (vmProcess.descriptors) return [ok('TAP_HELD', PRIVILEGES, 'the TAP can be held when the VM quits')]
  return [
    warning(
      'TAP_NOT_HELD',
      PRIVILEGES,
      "the VM's descriptors cannot be taken: frames that reach this host after the VM has quit are lost",
      { note: "it takes CAP_SYS_PTRACE, or the VM's own user" },
    ),
  ]
}

/** Which way to the cut there would be, and why not a better one. */
function checkCut({ plan, netdevs, vmProcess }: RehearsalFacts): Finding[] {
  if (plan.side !== 'source') return []
  return netdevs.map(({ netdev, queue }) => {
    const about = `cut of ${netdev.title}`
    const why = whyNotExact(queue, vmProcess)
    if (why === undefined) {
      return ok('CUT_EXACT', about, "exact: the guest's receive queue can be read while the VM stops")
    }
    return warning(
      'CUT_INEXACT',
      about,
      `${why}: the VM's monitor or the TAP's counter has to do, and up to 2 frames may be lost`,
      vmProcess.readable
        ? {}
        : { note: "reading the VM's memory takes CAP_SYS_PTRACE, or the VM's own user" },
    )
  })
}

function whyNotExact(
  queue: NetdevFacts['queue'],
  { pid, readable }: RehearsalFacts['vmProcess'],
): string | undefined {
  if (queue !== undefined && 'whyNoRing' in queue) return queue.whyNoRing
  if (pid === undefined) return "the VM's process cannot be told"
  return readable ? undefined : "the VM's memory may not be read"
}

function checkGate({ plan, gate }: RehearsalFacts): Finding[] {
  if (plan.side === 'source') return []
  if (typeof gate === 'string') {
    const place = gate === 'tcx' ? 'at tcx' : 'by cls_bpf at clsact, for want of tcx (Linux 6.6)'
    return [ok('GATE', PRIVILEGES, `a gate can keep from the VM what is flooded here: ${place}`)]
  }
  const { message, hint } = gate
  return [
    warning(
      'GATE_DENIED',
      PRIVILEGES,
      `no gate: broadcasts may reach the guest twice; ${message}`,
      noteOf(hint),
    ),
  ]
}

function checkPriority({ goesFirst }: RehearsalFacts): Finding[] {
  if (goesFirst) return [ok('PRIORITY', PRIVILEGES, 'its threads go before those of other processes')]
  return [
    info('PRIORITY_DENIED', PRIVILEGES, 'on a busy host frames wait for a processor, and may be overtaken', {
      note: 'it takes CAP_SYS_NICE',
    }),
  ]
}

function checkSecurity({ plan, credentials, now }: RehearsalFacts): Finding[] {
  const { address, side } = plan
  const about = `${side === 'source' ? '--to' : '--from'} ${formatStreamAddress(address)}`
  if (credentials !== undefined) return checkDirectory(about, credentials, now)
  if (address.kind !== 'tcp' || isLoopback(address.host)) return []
  return [info('INSECURE', about, 'frames travel between the hosts without encryption or a password')]
}

function checkHold({ plan, netdevs, memoryAvailable }: RehearsalFacts): Finding[] {
  const wanted = plan.maxHoldBytes * Math.max(netdevs.length, 1)
  const about = `--max-hold ${formatBytes(plan.maxHoldBytes)}`
  const [need, there] = [formatBytes(wanted), formatBytes(memoryAvailable)]
  if (wanted <= memoryAvailable) return [ok('HOLD', about, `${need} at most, of ${there} available`)]
  return [
    warning('HOLD_BEYOND_MEMORY', about, `${need} may be needed, and ${there} are available`, {
      note: 'give a smaller --max-hold, or make room',
    }),
  ]
}
