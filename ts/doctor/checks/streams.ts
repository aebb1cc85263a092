/** Whether the ends that are streams can be had, and whether the VM behind them is set alike. Pure. */

import { ExitStatus } from '../../errors.ts'
import type { ProcessState } from '../../host/processes.ts'
import { quote } from '../../options/words.ts'
import type { StreamPlan } from '../../run/ends.ts'
import { formatStreamAddress, formatStreamEnd } from '../../stream/address.ts'
import type { Facts, OwnProcess, SocketFile, StreamEnd } from '../facts.ts'
import { error, type Finding, info, ok, warning } from '../finding.ts'
import { again } from '../shell.ts'
import { seesOthers } from './privileges.ts'

export function checkStreams(facts: Facts): Finding[] {
  return facts.streams.flatMap(end => [...checkAddress(end, facts), ...checkOpposite(end, facts)])
}

function nameOf({ role, plan }: StreamEnd): string {
  return `${role} ${formatStreamAddress(plan.address)}`
}

function checkAddress(end: StreamEnd, facts: Facts): Finding[] {
  const { address, server } = end.plan
  if (address.kind === 'fd') return [ok('STREAM_READY', nameOf(end), 'it is handed over when the run starts')]
  return server ? [checkServer(end, facts)] : checkClient(end, facts)
}

function checkServer(end: StreamEnd, facts: Facts): Finding {
  const { request } = facts
  const about = nameOf(end)
  const { file, listening, server, ferry, plan } = end
  if (listening === undefined) return noAddressOfThisHost(about)
  if (listening && ferry !== undefined) {
    return info('STREAM_FOLLOWED', about, `tapferry ${ferry} listens there`)
  }
  if (listening) {
    return error('STREAM_IN_USE', ExitStatus.Failed, about, `${whoever(server)} listens there already`, {
      fix: again(request, { [`--${end.role}`]: formatStreamEnd(clientOf(plan)) }),
      note: 'that connects to it; or take another address',
    })
  }
  if (file === undefined) return ok('STREAM_READY', about, 'the port is free')
  return checkPath(about, pathOf(end), file, facts)
}

/** What connects to the server that is there, whichever of this host's addresses it is. */
function clientOf(plan: StreamPlan): StreamPlan {
  const { address } = plan
  const host = address.kind === 'tcp' && address.host === '' ? { host: 'localhost' } : {}
  return { ...plan, address: { ...address, ...host }, server: false }
}

export function noAddressOfThisHost(about: string): Finding {
  return error('STREAM_INVALID', ExitStatus.Failed, about, 'that is no address of this host to listen at', {
    note: '`ip address` shows those there are; localhost is for this host alone',
  })
}

/** Whether a socket can be made at a path at which nobody is. */
export function checkPath(about: string, path: string, file: SocketFile, { process }: Facts): Finding {
  if (file.kind === 'other') return noSocket(about)
  if (file.directory === 'missing') {
    return error(
      'DIRECTORY_MISSING',
      ExitStatus.Failed,
      about,
      'there is no such directory to make a socket in',
      {
        fix: `mkdir -p ${quote(directoryOf(path))}`,
      },
    )
  }
  if (file.directory === 'closed') {
    return error(
      'PERMISSION',
      ExitStatus.Permission,
      about,
      'this user may not make a socket in that directory',
      {
        note: `run it as another user than ${process.uid}, or take a directory of this one`,
      },
    )
  }
  const free =
    file.kind === 'none'
      ? 'the path is free'
      : `${nobodyOf(process)} listens there: what is left of a socket is replaced`
  return ok('STREAM_READY', about, free)
}

function checkClient(end: StreamEnd, facts: Facts): Finding[] {
  const about = nameOf(end)
  const { file, listening, ferry, clients, server } = end
  const refused = file === undefined ? undefined : checkSocket(nameOf(end), pathOf(end), file, facts)
  if (refused !== undefined) return [refused]
  if (listening === undefined) {
    const untried =
      'it is on another host: whether somebody listens there is not tried, which would take a place'
    return [ok('STREAM_READY', about, untried)]
  }
  if (!listening) {
    const why = file?.kind === 'none' ? 'there is no such socket' : `${nobodyOf(facts.process)} listens there`
    return [unreachable(end, why, facts)]
  }
  if (ferry !== undefined)
    return [info('STREAM_FOLLOWED', about, `tapferry ${ferry} is connected to it, or listens`)]
  const [client] = clients
  if (client !== undefined && server?.name.startsWith('qemu')) {
    return [
      warning(
        'STREAM_BUSY',
        about,
        `${whoever(client)} is connected, and QEMU serves one: others wait, unheard`,
        {
          fix: `kill ${client.pid}`,
          note: `that is ${client.name}; look whether it is to stay`,
        },
      ),
    ]
  }
  return [ok('STREAM_READY', about, `${whoever(server)} listens there`)]
}

function unreachable(end: StreamEnd, why: string, { request, process }: Facts): Finding {
  const about = nameOf(end)
  if (request.wait) return info('STREAM_UNREACHABLE', about, `${why} yet: --wait waits for it`)
  const details = {
    note: `start the other end first, add --wait, or listen: --${end.role}=${formatStreamAddress(end.plan.address)},server`,
  }
  // One in another network namespace may be out of sight.
  return end.file?.kind === 'socket' && !seesOthers(process)
    ? warning('STREAM_UNREACHABLE', about, why, details)
    : error('STREAM_UNREACHABLE', ExitStatus.Failed, about, why, details)
}

/** Whether this user may connect to it, as far as the file tells. */
export function checkSocket(
  about: string,
  path: string,
  file: SocketFile,
  { process }: Facts,
): Finding | undefined {
  if (file.kind === 'other') return noSocket(about)
  const closed = file.closedDirectories.map(quote).join(' ')
  if (closed === '' && (file.kind === 'none' || file.writable)) return undefined
  const socket = quote(path)
  const ways = [
    ...(closed === '' ? [] : [`chmod o+x ${closed}`]),
    ...(file.writable ? [] : [`chown ${process.uid} ${socket}`, `chmod u+rw ${socket}`]),
  ]
  return error('PERMISSION', ExitStatus.Permission, about, 'this user may not connect to that socket', {
    fix: ways.join(' && '),
  })
}

function noSocket(about: string): Finding {
  return error(
    'STREAM_INVALID',
    ExitStatus.Failed,
    about,
    'there is a file of that name, and it is no socket',
    {
      note: 'take another path, or that of a socket',
    },
  )
}

function checkOpposite(end: StreamEnd, { request }: Facts): Finding[] {
  const about = nameOf(end)
  const { plan, opposite } = end
  return [
    ...opposite.mismatches.map(({ setting, wanted, message, hint }) => {
      const changed =
        setting === 'vnet_hdr_support'
          ? { ...plan, vnetHdrSupport: Boolean(wanted) }
          : { ...plan, vnetHdrLength: Number(wanted) }
      return error('VNET_HDR_MISMATCH', ExitStatus.Failed, about, message, {
        fix: again(request, { [`--${end.role}`]: formatStreamEnd(changed) }),
        note: hint,
      })
    }),
    ...opposite.deaf.map(filter =>
      info(
        'FILTER_DEAF',
        about,
        `filter-redirector '${filter}' of the VM is deaf to it: a run makes it anew`,
      ),
    ),
  ]
}

function nobodyOf(process: OwnProcess): string {
  return seesOthers(process) ? 'nobody' : 'nobody that this user can see'
}

function whoever(process: ProcessState | undefined): string {
  return process === undefined ? 'another process' : `${process.name} (pid ${process.pid})`
}

function pathOf({ plan }: StreamEnd): string {
  return plan.address.kind === 'unix' ? plan.address.path : ''
}

function directoryOf(path: string): string {
  return path.replace(/\/[^/]*$/, '') || '/'
}
