/** The syntax of QEMU's options; no text crashes what reads it. */

import test from 'ava'
import fc from 'fast-check'
import { TapferryError } from '../../ts/errors.ts'
import { formatProperties, parseProperties } from '../../ts/qemu/keyval.ts'
import { planOf } from './support.ts'

const read = (text: string): Record<string, string> => Object.fromEntries(parseProperties(text, 'first'))

const texts: readonly (readonly [text: string, pairs: Record<string, string>])[] = [
  ['socket,id=c0', { first: 'socket', id: 'c0' }],
  ['first=socket,id=c0', { first: 'socket', id: 'c0' }],
  ['socket,path=/run/a,,b,,,server', { first: 'socket', path: '/run/a,b,', server: 'on' }],
  ['socket,server,nowait,', { first: 'socket', server: 'on', nowait: 'on' }],
  ['socket,a=1,a=2', { first: 'socket', a: '2' }],
  ['filter,position=id=f0', { first: 'filter', position: 'id=f0' }],
  ['socket,path=', { first: 'socket', path: '' }],
  ['{"qom-type":"iothread","id":"t","n":3,"b":true}', { 'qom-type': 'iothread', id: 't', n: '3', b: 'true' }],
  ["{'qom-type': 'iothread', 'props': {'n': 3}}", { 'qom-type': 'iothread', n: '3' }],
  [
    '{"id":"c0","backend":{"type":"socket","data":{"addr":{"type":"unix","data":{"path":"/x"}},"server":false}}}',
    { id: 'c0', backend: 'socket', path: '/x', server: 'false' },
  ],
  [
    '{"id":"c0","backend":{"type":"socket","data":{"addr":{"type":"fd","data":{"str":"3"}}}}}',
    { id: 'c0', backend: 'socket', str: '3' },
  ],
]

for (const [text, pairs] of texts) {
  test(`is read: ${text}`, t => {
    t.deepEqual(read(text), pairs)
  })
}

test('what is written is read again', t => {
  const word = fc.stringMatching(/^[a-z][a-z_-]{0,8}$/)
  fc.assert(
    fc.property(fc.dictionary(word, fc.string()), fc.stringMatching(/^[^={][^=]*$/), (rest, value) => {
      const properties = new Map(Object.entries({ ...rest, first: value.replaceAll('\0', '') }))
      const pairs = [...properties].map(([key, text]): [string, string] => [key, text.replaceAll('\0', '')])
      t.deepEqual(read(formatProperties(new Map(pairs), 'first')), Object.fromEntries(pairs))
    }),
  )
  t.pass()
})

/** Texts that are nearly right reach further than any string does. */
const piece = fc.constantFrom(
  ...['socket', 'pty', 'filter-mirror', 'filter-redirector', 'filter-buffer', 'tls-creds-x509', 'iothread'],
  ...[
    'id=c0',
    'id=m0',
    'netdev=hn0',
    'queue=tx',
    'queue=all',
    'indev=c0',
    'outdev=c0',
    'path=/run/x',
    'host=h',
  ],
  ...[
    'port=1',
    'port=http',
    'fd=3',
    'server',
    'server=on',
    'nowait',
    'ipv4=off',
    'ipv6',
    'interval=5',
    'to=3',
  ],
  ...['position=head', 'position=id=m0', 'insert=before', 'status=off', 'tls-creds=m0', 'dir=/d', 'abstract'],
  ...['__proto__=1', 'constructor', 'toString=x', '=', '', ',', '{', '{"id":', '}', 'reconnect=1'],
)
const nearly = fc.array(piece, { maxLength: 8 }).map(parts => parts.join(','))
const jsonText = fc.json().map(text => `{"id":"c0","qom-type":"filter-mirror","x":${text}}`)
const text = fc.oneof(fc.string(), nearly, jsonText)

test('any text is a plan or a refusal with a code and status 2', t => {
  const lists = fc.array(text, { maxLength: 3 })
  fc.assert(
    fc.property(lists, lists, (chardev, object) => {
      fc.pre(chardev.length + object.length > 0)
      try {
        t.true(planOf({ chardev, object }).plans.length > 0)
      } catch (error) {
        if (!(error instanceof TapferryError) || error.exitStatus !== 2) throw error
        if (error.message.includes('\n') && ![...chardev, ...object].some(each => each.includes('\n')))
          throw error
      }
    }),
    { numRuns: 2000 },
  )
  t.pass()
})
