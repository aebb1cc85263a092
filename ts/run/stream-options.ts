/** The options of `tapferry run` for ends that are streams: QEMU's framing over a socket. */

import { flag, option } from '../options/option.ts'
import { choice, credentialsDirectory, onOff, type ValueParser } from '../options/values.ts'
import { parseStreamEnd, type StreamEnd, VNET_HDR_LENGTHS } from '../stream/address.ts'
import { DATAGRAMS, type DatagramAddress, parseDatagramAddress } from '../stream/datagrams.ts'

export const STREAMS = 'Streams'

const vnetHdrLen: ValueParser<number> = (text, flagName) =>
  Number(choice(...VNET_HDR_LENGTHS)(text, flagName))

/** What an end is read as: a connection, or datagrams. */
const end: ValueParser<StreamEnd | DatagramAddress> = (text, flagName) =>
  text.startsWith(DATAGRAMS) ? parseDatagramAddress(text, flagName) : parseStreamEnd(text, flagName)

export const streamOptions = {
  indev: option({
    flags: '--indev',
    value: 'ADDR',
    group: STREAMS,
    brief: 'take frames from this stream, or datagrams',
    help: [
      "Take frames from this stream instead of --in-netdev: QEMU's filter-mirror",
      'or filter-redirector (its outdev), -netdev stream, or another tapferry.',
      'ADDR: unix:PATH[,server]  tcp:HOST:PORT[,server]  fd:N; with server it is',
      'listened on, and peers may come and go. A comma of the path is written ,,',
      'Or dgram:HOST:PORT[,remote=HOST:PORT]  dgram:unix:PATH to be bound there,',
      'a frame a datagram, as of -netdev dgram; from remote alone, if given.',
    ],
    parse: end,
  }),
  outdev: option({
    flags: '--outdev',
    value: 'ADDR',
    group: STREAMS,
    brief: 'write frames to this stream',
    help: [
      "Write frames to this stream instead of --out-netdev: QEMU's",
      'filter-redirector (its indev), -netdev stream, or another tapferry.',
      'A filter-redirector of QEMU up to 10.0 is deaf after its peer has left:',
      'with the --qmp of its VM, tapferry plugs it out and in again then.',
      'dgram:HOST:PORT[,local=HOST:PORT]  dgram:unix:PATH to send datagrams to,',
      'a whole frame in each, as to -netdev dgram.',
    ],
    parse: end,
  }),
  vnetHdrSupport: option({
    flags: '--vnet-hdr-support',
    value: 'on|off',
    bare: 'on',
    default: 'off',
    group: STREAMS,
    brief: 'virtio-net headers are announced',
    help: [
      'The virtio-net headers of frames, which carry offloads, are announced. The',
      'peer must be set alike (vnet_hdr_support of its filter).',
      'For one end alone: ADDR,vnet-hdr-support=on|off. Without a value: on.',
    ],
    parse: onOff,
  }),
  vnetHdrLen: option({
    flags: '--vnet-hdr-len',
    value: '0|10|12|20',
    group: STREAMS,
    brief: 'bytes of the virtio-net headers',
    help: [
      'Bytes of the virtio-net header of each frame, announced or not. QEMU takes',
      'only the length that its NIC has: 12 with virtio 1.0 on a TAP, 10 with a',
      'legacy driver, 0 with another NIC. Without this, indev is looked at, and',
      'outdev gets what indev brought; else 12 if announced, and 0 if not.',
      'For one end alone: ADDR,vnet-hdr-len=N.',
    ],
    parse: vnetHdrLen,
  }),
  offloads: option({
    flags: '--offloads',
    value: 'keep|complete',
    default: 'keep',
    group: STREAMS,
    brief: 'what outdev gets of unfinished frames',
    help: [
      'keep: with virtio-net headers, checksums and segments that are left undone',
      'travel as such. complete: every frame leaves whole, for a peer that cannot',
      'finish them. Without virtio-net headers frames always leave whole.',
    ],
    parse: choice('keep', 'complete'),
  }),
  tlsCreds: option({
    flags: '--tls-creds',
    value: 'DIR',
    group: STREAMS,
    brief: 'TLS for tcp, with these credentials',
    help: [
      'Speak TLS over TCP, with the certificates in this directory, named as',
      "those of QEMU's tls-creds-x509: ca-cert.pem, and for a server",
      'server-cert.pem and server-key.pem, for a client client-cert.pem and',
      "client-key.pem. Each side looks at the other's certificate; a client",
      'wants the host that it dials in it.',
      'Files that are renewed serve the connections that come then.',
      'For one end alone: ADDR,tls-creds=DIR.',
    ],
    parse: credentialsDirectory,
  }),
  insecure: flag({
    flags: '--insecure',
    group: STREAMS,
    brief: 'let others reach a tcp server or dgram indev',
    help: [
      'Listen on an address of TCP or UDP that other hosts can reach. Whoever',
      'gets there reads or sends frames: there is no encryption and no password.',
      'TCP with --tls-creds does not need it.',
    ],
  }),
}
