;; Prints the files that its arguments name, one after another, like cat(1).
;;
;; The module inside dag.yaml is this text, assembled by `make examples`, or by `wat2wasm --debug-names cat.wat`. The names
;; stay in: Bacalhau's WASM engine does not load a module without them.

(module $cat
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;;  0  number of arguments          1024  pointers to the arguments
  ;;  4  their size in bytes          4096  the arguments, each ended by a zero byte
  ;;  8  descriptor of the file      65536  what was read
  ;; 12  bytes read or written
  ;; 16  address and 20 length of the buffer
  (memory (export "memory") 2)

  (func $check (param $error i32)
    (if (local.get $error) (then (call $proc_exit (local.get $error)))))

  (func $length (param $text i32) (result i32)
    (local $end i32)
    (local.set $end (local.get $text))
    (block $found
      (loop $next
        (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $next)))
    (i32.sub (local.get $end) (local.get $text)))

  ;; Opens an absolute path below descriptor 3, the root directory, and gives the new descriptor.
  (func $open (param $path i32) (result i32)
    (local.set $path (i32.add (local.get $path) (i32.const 1)))
    (call $check (call $path_open
      (i32.const 3) (i32.const 0) (local.get $path) (call $length (local.get $path))
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8)))
    (i32.load (i32.const 8)))

  (func $copy (param $file i32)
    (loop $next
      (i32.store (i32.const 16) (i32.const 65536))
      (i32.store (i32.const 20) (i32.const 65536))
      (call $check (call $fd_read (local.get $file) (i32.const 16) (i32.const 1) (i32.const 12)))
      (if (i32.load (i32.const 12))
        (then
          (i32.store (i32.const 20) (i32.load (i32.const 12)))
          (call $check (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 12)))
          (br $next)))))

  (func (export "_start")
    (local $argument i32)
    (call $check (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (call $check (call $args_get (i32.const 1024) (i32.const 4096)))
    (local.set $argument (i32.const 1))        ;; the first is the program's own name
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $argument) (i32.load (i32.const 0))))
        (call $copy (call $open
          (i32.load (i32.add (i32.const 1024) (i32.mul (local.get $argument) (i32.const 4))))))
        (local.set $argument (i32.add (local.get $argument) (i32.const 1)))
        (br $next)))
    (call $proc_exit (i32.const 0))))
